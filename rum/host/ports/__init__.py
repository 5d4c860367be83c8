"""Ports of the guest on the host: the process that owns them, and the commands' side of it."""
