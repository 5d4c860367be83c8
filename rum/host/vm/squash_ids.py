"""Run a virtiofsd that cannot translate ids so that all its files belong to one user.

`squash_ids.py [--readonly DIRECTORY] -- PROGRAM ARGUMENTS...`, inside a user namespace that knows this one user only.

Whoever asks in the guest, root or the account, the daemon first takes that id. Here the kernel says that it has, and
leaves it the only id that there is: everything is done as the user who runs rum, and `chown` changes nothing, as on
any file system without owners. What protects the host is the namespace, not this.

A program of its own, which replaces itself by PROGRAM; the standard library only.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys

SYSTEM_CALLS = {
    "x86_64": {"setresuid": 117, "setresgid": 119, "setgroups": 116, "fchownat": 260},
    "aarch64": {"setresuid": 147, "setresgid": 149, "setgroups": 159, "fchownat": 54},
}
"""What is answered without being done; numbers of linux/unistd.h."""

# linux/filter.h and linux/seccomp.h
LOAD_NUMBER = (0x20, 0, 0, 0)
JUMP_IF_EQUAL = 0x15
RETURN = 0x06
ALLOW = 0x7FFF0000
SUCCEED = 0x00050000
"""SECCOMP_RET_ERRNO with no error."""

PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2

# mount(2), mount_setattr(2)
MS_BIND_RECURSIVE = 0x1000 | 0x4000
MOUNT_SETATTR = 442
AT_FDCWD = -100
AT_RECURSIVE = 0x8000
MOUNT_ATTR_RDONLY = 1

LIBC = ctypes.CDLL(None, use_errno=True)


class SocketFilterProgram(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p)]


def require(status: int, what: str) -> None:
    """Raises SystemExit where a call of the C library has failed."""
    if status != 0:
        raise SystemExit(f"squash_ids: {what}: {os.strerror(ctypes.get_errno())}")


def make_readonly(directory: bytes) -> None:
    """Make the directory and what is mounted below it read-only, in this mount namespace."""
    require(LIBC.mount(directory, directory, None, MS_BIND_RECURSIVE, None), "mount")
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    status = LIBC.syscall(MOUNT_SETATTR, AT_FDCWD, directory, AT_RECURSIVE, attributes, len(attributes))
    require(status, "mount_setattr")


def filter_program(numbers: list[int]) -> bytes:
    """Instructions that answer these system calls with success, undone, and let all others through."""
    instructions = [LOAD_NUMBER]
    for index, number in enumerate(numbers):
        instructions.append((JUMP_IF_EQUAL, len(numbers) - index, 0, number))
    instructions += [(RETURN, 0, 0, ALLOW), (RETURN, 0, 0, SUCCEED)]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def squash() -> None:
    """Install the filter, for this process and all that it becomes."""
    instructions = filter_program(sorted(SYSTEM_CALLS[platform.machine()].values()))
    program = SocketFilterProgram(len(instructions) // 8, instructions)
    require(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    require(LIBC.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program), 0, 0), "seccomp")


def main(arguments: list[str]) -> None:
    """Do what the command line says; does not return."""
    split = arguments.index("--")
    for directory in arguments[1:split]:
        make_readonly(os.fsencode(directory))
    squash()
    os.execv(arguments[split + 1], arguments[split + 1 :])


if __name__ == "__main__":
    main(sys.argv[1:])
