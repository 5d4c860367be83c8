"""`rum cp`: files and trees between the host and the guest. The ends that read and write are `rum.transfer`."""
