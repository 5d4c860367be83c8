"""Whether anybody can reach an agent on AF_VSOCK: its socket listens without a driver, too, and nothing would tell."""

from __future__ import annotations

import fcntl
import socket
import sys

from rum.agent.loop import Loop

DEVICE = "/dev/vsock"

PATIENCE_S = 20.0
"""udev may still be loading the driver when the agent starts."""

CID_MIN, CID_MAX = 3, 0xFFFFFFFE
"""What a guest's address may be; the kernel says VMADDR_CID_ANY where there is none (vsock(7))."""


def local_cid() -> int:
    """This machine's address as the kernel has it. Raises OSError."""
    with open(DEVICE, "rb") as device:
        answer = fcntl.ioctl(device, socket.IOCTL_VM_SOCKETS_GET_LOCAL_CID, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def expect_driver(loop: Loop, listener: socket.socket) -> None:
    """Say so where no driver has come after a while; one may still come."""
    if listener.family == socket.AF_VSOCK:
        loop.call_later(PATIENCE_S, complain_without_driver)


def complain_without_driver() -> None:
    """Tell the console, which is all that the host sees of such a guest."""
    try:
        cid = local_cid()
    except OSError:
        return
    if not CID_MIN <= cid <= CID_MAX:
        sys.stderr.write("rum-agent: there is no virtio-vsock driver in this kernel, so nobody can reach the agent\n")
