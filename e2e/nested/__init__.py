"""The end-to-end tests under KVM and the kernel's vhost-vsock, also where there is neither: in an emulated machine."""
