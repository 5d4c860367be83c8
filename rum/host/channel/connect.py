"""Opening a byte stream to the guest's agent, over kernel vsock or over vhost-device-vsock's Unix socket."""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from rum.host import remedies
from rum.host.channel.endpoint import Endpoint, UnixEndpoint, VsockEndpoint
from rum.host.channel.half_open import HalfOpen
from rum.host.channel.vhost_worker import Channel, channel_behind
from rum.host.deadlines import Check, Deadline, no_check, wait_readable, wait_writable
from rum.host.errors import GuestError, HostError

DIAL_PATIENCE_S = 30.0
"""One attempt over the Unix socket: silence means that the guest stalls, or has just been reset and will never answer.
Each attempt that is given up leaves a process behind for a while (`rum.host.channel.half_open`)."""

VSOCK_BUFFER_SIZE = 8 * 1024 * 1024
"""Kernels since 6.12.92 reset a stream whose receive queue holds more small packets than its buffer allows for: about
455 at the default of 256 KiB. The agent asks for as much."""

OK_LINE_MAX = 64
"""Bytes of the daemon's answer, `OK <port>` and a newline."""

# af_vsock.c and vhost/vsock.c: no such CID yet, no driver in the guest (2 s timer), nobody listens, VM went away.
VSOCK_NOT_READY = {errno.ENODEV, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.EPIPE}

# The daemon's socket is missing or unserved for a moment whenever QEMU (re)connects to it.
UNIX_NOT_READY = {errno.ENOENT, errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.EAGAIN}


class NotReadyError(GuestError):
    """Nobody answers yet; worth another attempt. The message says what was seen."""


class RefusedError(NotReadyError):
    """The vsock daemon has closed the connection, which it does when the guest has nobody for it."""


def open_stream(endpoint: Endpoint, deadline: Deadline, check: Check = no_check) -> socket.socket:
    """A connected, non-blocking socket whose next bytes are the agent's.

    Raises NotReadyError where another attempt makes sense, HostError where this host cannot do it, and whatever
    `check` raises, which is called every half a second.
    """
    if isinstance(endpoint, VsockEndpoint):
        return _open_vsock(endpoint, deadline, check)
    return _open_unix(endpoint, deadline.at_most(DIAL_PATIENCE_S), check)


def _open_vsock(endpoint: VsockEndpoint, deadline: Deadline, check: Check) -> socket.socket:
    family = getattr(socket, "AF_VSOCK", None)
    if family is None:
        raise HostError(
            "this Python was built without AF_VSOCK, so it cannot reach a guest over kernel vsock",
            hint='set `transport = "vhost-user"` under [advanced] in rum.toml, or use the distribution\'s python3',
        )
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as exc:
        raise HostError(
            f"cannot open a vsock socket: {exc.strerror}", hint=remedies.as_root("modprobe vhost_vsock")
        ) from exc
    enlarge_buffer(sock)
    return _connected(sock, (endpoint.cid, endpoint.port), VSOCK_NOT_READY, deadline, check)


def enlarge_buffer(sock: socket.socket) -> None:
    """Make room for many small packets, as far as the kernel allows."""
    with contextlib.suppress(OSError):
        # The maximum first: the kernel clamps the size to it (vsock(7)). CPython packs the u64 of these options itself.
        for option in (socket.SO_VM_SOCKETS_BUFFER_MAX_SIZE, socket.SO_VM_SOCKETS_BUFFER_SIZE):
            sock.setsockopt(socket.AF_VSOCK, option, VSOCK_BUFFER_SIZE)


def _open_unix(endpoint: UnixEndpoint, deadline: Deadline, check: Check) -> socket.socket:
    require_channel(endpoint)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    _connected(sock, os.fspath(endpoint.path), UNIX_NOT_READY, deadline, check)
    half_open = HalfOpen(sock)
    try:
        _ask_for_port(sock, endpoint.port, deadline, half_open.watched(check))
    except RefusedError:
        half_open.answered()
        sock.close()
        raise
    except BaseException:
        half_open.leave()
        sock.close()
        raise
    half_open.answered()
    return sock


def require_channel(endpoint: UnixEndpoint) -> None:
    """Raises NotReadyError while dialling would do harm, GuestError where it has been done."""
    channel = channel_behind(endpoint.path)
    if channel is Channel.DOWN:
        raise NotReadyError("the guest's vsock driver is not up")
    if channel is Channel.DEAD:
        raise GuestError(
            "vhost-device-vsock's worker has died, so the guest cannot be reached before it is started again",
            hint="run `rum down` and `rum up`",
        )


def _connected(
    sock: socket.socket, address: tuple[int, int] | str, not_ready: set[int], deadline: Deadline, check: Check
) -> socket.socket:
    """The socket, connected; closed if that fails. Non-blocking, because a signal aborts a blocking vsock connect."""
    sock.setblocking(False)
    try:
        _connect(sock, address, deadline, check)
    except OSError as exc:
        sock.close()
        if exc.errno in not_ready:
            raise NotReadyError(f"nobody answers at {_spelled(address)}: {exc.strerror}") from exc
        raise HostError(f"cannot connect to {_spelled(address)}: {exc.strerror}") from exc
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(sock: socket.socket, address: tuple[int, int] | str, deadline: Deadline, check: Check) -> None:
    try:
        sock.connect(address)
    except BlockingIOError as exc:
        if exc.errno != errno.EINPROGRESS:
            raise
        if not wait_writable(sock, deadline, check):
            raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
        if failed := sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise OSError(failed, os.strerror(failed)) from None


def _spelled(address: tuple[int, int] | str) -> str:
    return address if isinstance(address, str) else f"vsock CID {address[0]}, port {address[1]}"


def _ask_for_port(sock: socket.socket, port: int, deadline: Deadline, check: Check) -> None:
    """The preamble of vhost-device-vsock: the daemon loses what follows the line, so nothing may be sent with it."""
    try:
        sock.send(f"CONNECT {port}\n".encode())
    except OSError as exc:
        raise RefusedError(f"the vsock daemon closed the connection: {exc.strerror}") from exc
    line = b""
    while not line.endswith(b"\n"):
        line += _read_byte(sock, deadline, check)
        if len(line) > OK_LINE_MAX or not b"OK ".startswith(line[:3]):
            raise GuestError(f"what answers behind the vsock daemon's socket is no vsock daemon: {line!r}")


def _read_byte(sock: socket.socket, deadline: Deadline, check: Check) -> bytes:
    """One byte: what follows the line is the agent's, and must stay in the socket."""
    if not wait_readable(sock, deadline, check):
        raise NotReadyError("the guest's vsock driver does not answer yet")
    try:
        data = sock.recv(1)
    except OSError as exc:
        raise RefusedError(f"the vsock daemon closed the connection: {exc.strerror}") from exc
    if not data:
        raise RefusedError("nobody listens in the guest yet")
    return data
