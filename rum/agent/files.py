"""`read_file` and `write_file`: sent as fast as the client reads, received whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from typing import Callable, NamedTuple

from rum.agent.connection import Connection
from rum.agent.durable import NewFile
from rum.agent.loop import Loop
from rum.protocol.conversation import Received
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.fields import get_optional_int, get_optional_str, get_str, no_nul
from rum.protocol.frames import HEADER, Kind
from rum.protocol.limits import SEND_MAX
from rum.protocol.messages import Message

CHUNK = SEND_MAX - HEADER.size
"""A frame that fits one send()."""

CHUNKS_PER_TURN = 16
"""After so many the loop looks at the others."""

NEW_FILE_MODE = 0o644
SIZE_MAX = 2**63 - 1
MODE_MAX = 0o7777
SHA256 = re.compile(r"[0-9a-f]{64}")


def get_path(params: Message) -> str:
    """The absolute path that a request names. Raises ValueError."""
    path = no_nul("path", get_str(params, "path"))
    if not path.startswith("/"):
        raise ValueError(f"path is {path[:80]!r}, which is not absolute")
    return path


def not_regular(path: str) -> RequestError:
    """The error for what is there and cannot be read or replaced as a file."""
    return RequestError(ErrorCode.BAD_REQUEST, f"{path} is no regular file")


def explained(path: str, error: OSError) -> RequestError:
    """The error that answers the client."""
    code = ErrorCode.NOT_FOUND if isinstance(error, (FileNotFoundError, NotADirectoryError)) else ErrorCode.INTERNAL
    return RequestError(code, f"{path}: {error.strerror}")


STOPPING = RequestError(ErrorCode.BUSY, "the agent is stopping; ask its successor")
"""The answer for a client that is still there when what is done for it has to end."""


class FileReader:
    """Sends a file. Raises RequestError and ValueError from the constructor where it cannot be read."""

    holds_up = True

    def __init__(self, loop: Loop, connection: Connection, params: Message) -> None:
        self._loop = loop
        self._connection = connection
        self._path = get_path(params)
        self._digest = hashlib.sha256()
        self._size = 0
        self._scheduled = False
        self.on_end: Callable[[], None] = lambda: None
        try:
            # A FIFO would otherwise wait for its other end.
            self._fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
        except OSError as exc:
            raise explained(self._path, exc) from exc
        self._mode = os.fstat(self._fd).st_mode
        if not stat.S_ISREG(self._mode):
            os.close(self._fd)
            raise not_regular(self._path)

    def start(self) -> None:
        """Begin; the rest follows from the loop."""
        self._connection.on_drained = self._schedule
        self._schedule()

    def client_gone(self) -> None:
        """Nobody is left to read it for, or the agent ends."""
        if not (self._connection.closed or self._connection.answered):
            self._connection.on_drained = lambda: None
            self._connection.refuse(STOPPING)
        self._end()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_later(0, self._send_some)

    def _send_some(self) -> None:
        self._scheduled = False
        for _ in range(CHUNKS_PER_TURN):
            if self._connection.answered or self._connection.backlog:
                return
            if not self._send_chunk():
                return
        self._schedule()

    def _send_chunk(self) -> bool:
        """Whether there may be more."""
        try:
            data = os.read(self._fd, CHUNK)
        except OSError as exc:
            self._connection.on_drained = lambda: None
            self._connection.refuse(explained(self._path, exc))
            self._end()
            return False
        if data:
            self._digest.update(data)
            self._size += len(data)
            self._connection.frame(Kind.BYTES, data)
            return True
        self._connection.on_drained = lambda: None
        result = {"size": self._size, "sha256": self._digest.hexdigest(), "mode": stat.S_IMODE(self._mode)}
        self._connection.result(result)
        self._end()
        return False

    def _end(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
            self.on_end()


class WriteRequest(NamedTuple):
    """The parameters of a `write_file`. Without a size an empty BYTES frame is the end."""

    path: str
    mode: int | None
    size: int | None
    sha256: str | None

    @staticmethod
    def parse(params: Message) -> WriteRequest:
        """Raises ValueError."""
        digest = get_optional_str(params, "sha256")
        return WriteRequest(
            path=get_path(params),
            mode=get_optional_int(params, "mode", low=0, high=MODE_MAX),
            size=get_optional_int(params, "size", low=0, high=SIZE_MAX),
            sha256=None if digest is None else get_str(params, "sha256", pattern=SHA256),
        )


class FileWriter:
    """Receives a file. Raises RequestError from the constructor where it cannot be written."""

    holds_up = True

    def __init__(self, connection: Connection, request: WriteRequest) -> None:
        self._connection = connection
        self._request = request
        self._digest = hashlib.sha256()
        self._size = 0
        self.on_end: Callable[[], None] = lambda: None
        # What a link points at is replaced, as cp(1) would.
        self._path = os.path.realpath(request.path)
        self._mode, self._owner = self._find_old()
        try:
            self._new = NewFile(self._path, os.urandom(4).hex() + "-")
        except OSError as exc:
            raise explained(request.path, exc) from exc

    def start(self) -> None:
        """Begin; the rest follows from what the client sends."""
        self._connection.on_frame = self._take
        self._finish_if_whole()

    def client_gone(self) -> None:
        """What has not arrived whole does not take anything's place, and a client that is still there is told so."""
        if self._connection.closed or self._connection.answered:
            self._end()
        else:
            self._refuse(STOPPING)

    def _find_old(self) -> tuple[int, tuple[int, int] | None]:
        """Mode and owner for the new file: those of the one it replaces, which must be a regular one."""
        mode = self._request.mode
        try:
            old = os.stat(self._path)
        except OSError:
            return (NEW_FILE_MODE if mode is None else mode), None
        if not stat.S_ISREG(old.st_mode):
            raise not_regular(self._request.path)
        return (stat.S_IMODE(old.st_mode) if mode is None else mode), (old.st_uid, old.st_gid)

    def _take(self, received: Received) -> None:
        if received.frame.kind is not Kind.BYTES or self._connection.answered:
            return
        data = received.frame.payload
        try:
            self._new.write(data)
        except OSError as exc:
            self._refuse(explained(self._request.path, exc))
            return
        self._digest.update(data)
        self._size += len(data)
        if data:
            self._finish_if_whole()
        else:
            self._finish()

    def _finish_if_whole(self) -> None:
        if self._request.size is not None and self._size >= self._request.size:
            self._finish()

    def _finish(self) -> None:
        request, digest = self._request, self._digest.hexdigest()
        if request.size not in (None, self._size):
            self._refuse_contents(f"has {self._size} bytes, not {request.size}")
        elif request.sha256 not in (None, digest):
            self._refuse_contents(f"has the sha256 {digest}, not {request.sha256}")
        else:
            self._take_place(digest)

    def _take_place(self, digest: str) -> None:
        try:
            self._new.take_place(self._mode, self._owner)
        except OSError as exc:
            self._refuse(explained(self._request.path, exc))
            return
        self._connection.result({"size": self._size, "sha256": digest, "mode": self._mode})
        self._end()

    def _refuse_contents(self, difference: str) -> None:
        text = f"what arrived for {self._request.path} {difference}; nothing was replaced"
        self._refuse(RequestError(ErrorCode.BAD_REQUEST, text))

    def _refuse(self, failure: RequestError) -> None:
        # First, so that a client that knows of the failure finds nothing of it.
        self._new.discard()
        self._connection.refuse(failure)
        self._end()

    def _end(self) -> None:
        self._new.discard()
        self.on_end()
