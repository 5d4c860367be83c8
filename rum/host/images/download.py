"""Downloads that resume, also after kill -9, and are verified before anyone sees them.

`<file>.part` is what has arrived, `<file>.part.json` of what: the two halves of a file are never of two versions of it.
The caller holds the file's lock (rum.host.images.lock).
"""

from __future__ import annotations

import errno
import http.client
import re
import shutil
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import TypeVar

import msgspec

from rum.host.errors import HostError
from rum.host.events import Emit, Notice, Progress
from rum.host.files import publish, write_atomic
from rum.host.images import http_get
from rum.host.images.checksums import Checksum, file_digest
from rum.host.images.http_get import AGAIN_HINT, PassingError, RangeRefusedError, get, reading
from rum.host.sizes import show_size

_T = TypeVar("_T")

PART_SUFFIX = ".part"
CHUNK = 1 << 20
LIST_MAX = 1 << 20
"""A checksum list has a few hundred lines."""

PAUSES_S = (1.0, 3.0, 10.0)
"""Between attempts that brought nothing new."""
NEW_BYTES_MIN = 1 << 20
"""An attempt that brought less counts as one that brought nothing."""
STALL_BYTES = 64 << 10
"""Less than this in the time after which a silent server counts as gone is no better than silence."""

LENGTH_MAX = 64 << 30
RESERVE = 256 << 20
"""What a body of unknown length leaves free on the disk."""


@dataclass(frozen=True)
class Arriving:
    """Which version of a file is arriving: its ETag or Last-Modified, "" for none, and its bytes where known."""

    url: str
    validator: str
    total: int | None


def fetch_text(url: str, emit: Emit) -> str:
    """A small text file. Raises DownloadError."""

    def attempt() -> str:
        text = bytearray()
        with get(url) as response:
            for chunk in _chunks(url, response):
                text += chunk
                if len(text) >= LIST_MAX:
                    break
        return text[:LIST_MAX].decode("utf-8", "replace")

    return retrying(attempt, emit)


def download(url: str, path: Path, wanted: Checksum | None, emit: Emit) -> None:
    """Download `url` to `path`, which appears, read-only, only when it is whole and verified.

    Raises DownloadError, and HostError for a wrong checksum (then nothing is kept) or a full disk.
    """
    transfer = Transfer(url, path, verifiable=wanted is not None, emit=emit)
    try:
        resumed = transfer.run()
        if wanted and resumed and file_digest(transfer.part, wanted.algorithm) != wanted.digest:
            emit(Notice(f"what was downloaded of {url} before is damaged; it is downloaded anew", warning=True))
            discard(path)
            transfer.run()
        if wanted:
            transfer.verify(wanted)
        transfer.part.chmod(0o444)
        publish(transfer.part, path)
        discard(path)
    except OSError as exc:
        hint = room_hint(path.parent) if exc.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise HostError(f"{transfer.part} cannot be written: {exc.strerror}", hint=hint) from exc


def retrying(attempt: Callable[[], _T], emit: Emit, arrived: Callable[[], int] = lambda: 0) -> _T:
    """The result of one attempt of a few; `arrived` tells the bytes that there are by now. Raises DownloadError."""
    failures = 0
    while True:
        before = arrived()
        try:
            return attempt()
        except PassingError as exc:
            failures = 1 if arrived() - before >= NEW_BYTES_MIN else failures + 1
            if failures > len(PAUSES_S):
                raise
            pause = PAUSES_S[failures - 1]
            emit(Notice(f"{exc}; trying again in {pause:.3g} s"))
            time.sleep(pause)


class Transfer:
    """One file on its way. `verifiable`: two halves that do not belong together would be noticed."""

    def __init__(self, url: str, path: Path, *, verifiable: bool, emit: Emit) -> None:
        self._url = url
        self._name = urllib.parse.urlsplit(url).path.rpartition("/")[2] or url
        self._verifiable = verifiable
        self._emit = emit
        self._path = path
        self.part, self._note = part_path(path), _note_path(path)

    def run(self) -> bool:
        """Have the whole file arrive; whether some of it was there before. Raises DownloadError, HostError, OSError."""
        resumed = self._size() > 0 and self._arriving() is not None
        retrying(self._attempt, self._emit, self._size)
        return resumed

    def verify(self, wanted: Checksum) -> None:
        """Raises HostError, having thrown the file away, unless it is the one that was asked for."""
        found = file_digest(self.part, wanted.algorithm)
        if found != wanted.digest:
            discard(self._path)
            raise HostError(
                f"{self._url} has the {wanted.algorithm} {found}, not {wanted.digest}; the download was thrown away",
                hint="run the command again; if it stays so, the image is not the one that was asked for",
                code="checksum",
            )

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _arriving(self) -> Arriving | None:
        """What the part is of, None where it cannot be gone on with."""
        noted = _read_note(self._path)
        usable = noted and noted.url == self._url and (noted.validator or self._verifiable)
        return noted if usable else None

    def _attempt(self) -> None:
        noted = self._arriving() if self._size() else None
        if noted and self._size() == noted.total:
            return
        if noted:
            try:
                with get(self._url, _range(self._size(), noted)) as response:
                    if self._go_on(response, noted):
                        return
            except RangeRefusedError:
                pass
        discard(self._path)
        with get(self._url) as response:
            self._begin(response)

    def _go_on(self, response: HTTPResponse, noted: Arriving) -> bool:
        """Take the rest of the file; False where the server sends another part or another version of it."""
        if response.status != http.client.PARTIAL_CONTENT:
            self._begin(response)
            return True
        found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        same_place = found is None or int(found[1]) == self._size()
        same_length = found is None or found[2] in ("*", str(noted.total)) or noted.total is None
        same_version = noted.validator in ("", _validator(response)) or not _validator(response)
        if not (same_place and same_length and same_version):
            return False
        self._emit(Notice(f"going on with the download of {self._url} at {show_size(self._size())}"))
        self._receive(response, self._size())
        return True

    def _begin(self, response: HTTPResponse) -> None:
        self.part.unlink(missing_ok=True)
        arriving = Arriving(self._url, _validator(response), _length(response))
        write_atomic(self._note, msgspec.json.encode(arriving))
        self._receive(response, 0)

    def _receive(self, response: HTTPResponse, start: int) -> None:
        length = _length(response)
        total = None if length is None else start + length
        limit = self._room(start, total)
        with open(self.part, "ab") as file:
            for chunk in _chunks(self._url, response):
                file.write(chunk)
                self._emit(Progress(self._name, file.tell(), total))
                if file.tell() > limit:
                    discard(self._path)
                    text = f"{self._url} does not say how long it is, and has not ended after {show_size(limit)}"
                    raise HostError(text, hint="check the URL; what it sends may be no image")
            arrived = file.tell()
        if total is not None and arrived < total:
            raise PassingError(
                f"the download of {self._url} broke off after {arrived} of {total} bytes", hint=AGAIN_HINT
            )

    def _room(self, start: int, total: int | None) -> int:
        """The bytes that the file may have. Raises HostError where the disk has no room for it."""
        free = shutil.disk_usage(self.part.parent).free
        if total is None:
            return min(LENGTH_MAX, start + max(0, free - RESERVE))
        if total - start > free:
            text = f"{self._url} still has {show_size(total - start)} to come, and {self.part.parent} has room for"
            raise HostError(f"{text} {show_size(free)}", hint=room_hint(self.part.parent))
        return total


def part_path(path: Path) -> Path:
    """What has arrived of a file so far."""
    return path.with_name(f"{path.name}{PART_SUFFIX}")


def _note_path(path: Path) -> Path:
    return path.with_name(f"{path.name}{PART_SUFFIX}.json")


def _read_note(path: Path) -> Arriving | None:
    try:
        return msgspec.json.decode(_note_path(path).read_bytes(), type=Arriving)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def url_of_part(path: Path) -> str | None:
    """Where what has arrived of a file so far comes from, None where nobody knows."""
    noted = _read_note(path)
    return noted.url if noted else None


def discard(path: Path) -> None:
    """Forget what has arrived of a file. Raises OSError."""
    part_path(path).unlink(missing_ok=True)
    _note_path(path).unlink(missing_ok=True)


def room_hint(directory: Path) -> str:
    """What to do about a full disk."""
    return f"make room in {directory}, for instance with 'rum image remove --unused', or set XDG_CACHE_HOME"


def _range(start: int, noted: Arriving) -> dict[str, str]:
    # RFC 9110 13.1.5: with If-Range a server whose file has changed sends the whole of the new one.
    return {"Range": f"bytes={start}-"} | ({"If-Range": noted.validator} if noted.validator else {})


def _validator(response: HTTPResponse) -> str:
    """What tells versions of the file apart, "" where nothing does: weak ETags do not (RFC 9110 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _length(response: HTTPResponse) -> int | None:
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _chunks(url: str, response: HTTPResponse) -> Iterator[bytes]:
    """The body as it comes. Raises PassingError where it comes hardly or no more."""
    since, arrived = time.monotonic(), 0
    with reading(url):
        while chunk := response.read1(CHUNK):
            yield chunk
            arrived += len(chunk)
            if time.monotonic() - since >= http_get.TIMEOUT_S:
                if arrived < STALL_BYTES:
                    text = f"the download of {url} stalls: {arrived} bytes in {http_get.TIMEOUT_S:.0f} s"
                    raise PassingError(text, hint=AGAIN_HINT)
                since, arrived = time.monotonic(), 0
