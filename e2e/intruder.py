"""What somebody tries who should see nothing.

Its text is sent to where it runs, in the guest or here as another user: Python 3.9 and its standard library.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import socket
import stat
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

OVERLAP = 4096
PIECE = 1 << 20


def program(task: str, *arguments: object) -> str:
    """The text of a Python program that prints as JSON what a function of this module returns."""
    call = f"print(json.dumps({task}(*json.loads({json.dumps(arguments)!r}))))"
    return f"{Path(__file__).read_text()}\n{call}\n"


def as_second_user(text: str) -> object:
    """The JSON that a Python program prints which runs here as a subordinate user: to the kernel somebody else.

    As root of a user namespace it may become one of its other users, and has no privileges after that.
    """
    become = ["unshare", "--map-root-user", "--map-auto", "--"]
    become += ["setpriv", "--reuid=1", "--regid=1", "--clear-groups", "--inh-caps=-all", "--"]
    done = subprocess.run(
        [*become, "/usr/bin/python3", "-I", "-"], input=text, capture_output=True, text=True, check=True, cwd="/"
    )
    return json.loads(done.stdout)


def whoami() -> list[int]:
    """The user and the effective capabilities."""
    with open("/proc/self/status") as status:
        (capabilities,) = (line.split()[1] for line in status if line.startswith("CapEff"))
    return [os.geteuid(), int(capabilities, 16)]


def reached(paths: list[str]) -> list[str]:
    """Those of the paths that can be listed, read, written or connected to."""
    return [path for path in paths if is_reached(path)]


def is_reached(path: str) -> bool:
    """Whether anything but the lack of permission keeps us from it."""
    try:
        mode = os.lstat(path).st_mode
    except PermissionError:
        return False
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(mode):
        return False
    if stat.S_ISDIR(mode):
        return any(os.access(path, wanted) for wanted in (os.R_OK, os.W_OK))
    if stat.S_ISSOCK(mode):
        return any(connects(path, kind) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM))
    return any(opens(path, flags) for flags in (os.O_RDONLY, os.O_WRONLY))


def connects(path: str, kind: int) -> bool:
    """Whether we may connect; that nobody listens is no protection."""
    with socket.socket(socket.AF_UNIX, kind) as client:
        try:
            client.connect(path)
        except PermissionError:
            return False
        except OSError:
            return True
    return True


def opens(path: str, flags: int) -> bool:
    """Whether we may open it; what else fails then is no protection."""
    try:
        os.close(os.open(path, flags | os.O_NONBLOCK))
    except PermissionError:
        return False
    except OSError:
        return True
    return True


def search(roots: list[str], secrets: list[list[str]], since: float) -> list[list[str]]:
    """Where secrets (name, hexadecimal bytes) are found: in files changed since then, and in what /proc shows.

    `since` is in seconds since the epoch, 0 for the machine's last boot. Returns place and name of each finding.
    """
    wanted = [(name, bytes.fromhex(value)) for name, value in secrets]
    oldest = since or booted_at()
    places = [*files_below(roots, oldest), *process_files()]
    return sorted([place, name] for place in places for name in found_in(place, wanted))


def booted_at() -> float:
    """Seconds since the epoch."""
    with open("/proc/stat") as file:
        return float(next(line.split()[1] for line in file if line.startswith("btime")))


def files_below(roots: list[str], oldest: float) -> list[str]:
    """The regular files of the roots' own filesystems whose inode has changed since then, which nobody can pretend."""
    command = ["find", *roots, "-xdev", "-type", "f", "-newerct", f"@{oldest}", "-print0"]
    # It fails where it may not look, which is expected of some places.
    listed = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return [os.fsdecode(path) for path in listed.stdout.split(b"\0") if path]


def process_files() -> Iterator[str]:
    """Command lines and environments."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            yield from (f"/proc/{entry}/cmdline", f"/proc/{entry}/environ")


def found_in(path: str, wanted: list[tuple[str, bytes]]) -> set[str]:
    """The names of the secrets in the file; none where it cannot be read."""
    names: set[str] = set()
    before = b""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        while piece := file.read(PIECE):
            names.update(name for name, secret in wanted if secret in before + piece)
            before = piece[-OVERLAP:]
    return names


def disguises(name: str, secret: bytes) -> list[list[str]]:
    """The secret for `search`: as it is, and what is in every base64 text that contains it."""
    forms = [secret]
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + secret)
        # The first and last characters depend on what stands beside it.
        forms.append(text[4:-4])
    return [[name, form.hex()] for form in forms]


def vsock_answers(port: int, within_s: float) -> dict[str, str]:
    """What answers at the guest's own addresses: the bytes in hexadecimal, or what went wrong."""
    with open("/dev/vsock", "rb") as device:
        (own,) = struct.unpack("I", fcntl.ioctl(device, 0x7B9, bytes(4)))
    return {str(cid): vsock_answer(cid, port, within_s) for cid in (1, own)}


def vsock_answer(cid: int, port: int, within_s: float) -> str:
    """See `vsock_answers`."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        client.settimeout(within_s)
        try:
            client.connect((cid, port))
            return client.recv(64).hex()
        except OSError as error:
            return type(error).__name__


def forges_proof(cid: int, port: int, within_s: float) -> list[str]:
    """What an agent says to somebody without its key: its greeting, and what comes after a made-up answer.

    Both in hexadecimal; of the second, the name of the error if there is one.
    """
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        client.settimeout(within_s)
        client.connect((cid, port))
        greeting = b""
        while len(greeting) < 36:
            greeting += client.recv(36 - len(greeting))
        client.sendall(os.urandom(64))
        try:
            return [greeting.hex(), client.recv(64).hex()]
        except OSError as error:
            return [greeting.hex(), type(error).__name__]


def binds_as_host() -> bool:
    """Whether we can pretend to be the host."""
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as client:
        try:
            client.bind((socket.VMADDR_CID_HOST, 1024 * 5))
        except OSError:
            return False
    return True
