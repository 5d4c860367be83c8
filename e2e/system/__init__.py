"""What needs the system's libvirtd, and so root: `nox -s e2e_system`."""
