"""Downloads that resume, are verified before anyone sees them, and never happen twice at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path
from typing import BinaryIO

from rum import __version__
from rum.host.checksums import Checksum
from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import publish
from rum.host.sizes import show_size

TIMEOUT_S = 60.0
"""Without a byte for so long the server counts as gone."""

CHUNK = 1 << 20
PROGRESS_S = 5.0
LIST_MAX = 1 << 20
"""A checksum list has a few hundred lines."""


class DownloadError(HostError):
    """The server was not reached, refused, or broke off; what arrived is kept, the next attempt goes on from there."""


def fetch_text(url: str) -> str:
    """A small text file. Raises DownloadError."""
    with _request(url) as response, _reading(url):
        return response.read(LIST_MAX).decode("utf-8", "replace")


def download(url: str, path: Path, wanted: Checksum | None, emit: Emit) -> None:
    """Download `url` to `path`, which appears only when it is whole and verified.

    Raises DownloadError, and HostError for a wrong checksum (then nothing is kept) or a full disk.
    """
    part = path.with_name(f"{path.name}.part")
    with _locked(path.with_name(f"{path.name}.lock"), url, emit):
        if path.exists():  # Another rum has finished it while this one waited.
            return
        if wanted is None:  # Two halves of two versions would not be noticed.
            part.unlink(missing_ok=True)
        try:
            with open(part, "ab") as file:
                _transfer(url, file, emit)
        except OSError as exc:
            raise HostError(f"{part} cannot be written: {exc.strerror}") from exc
        _verify(url, part, wanted)
        publish(part, path)


@contextlib.contextmanager
def _locked(path: Path, url: str, emit: Emit) -> Iterator[None]:
    with open(path, "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            emit(Notice(f"waiting for another rum that downloads {url}"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _transfer(url: str, file: BinaryIO, emit: Emit) -> None:
    with _request(url, start=file.tell()) as response:
        if response.status == http.client.PARTIAL_CONTENT:
            emit(Notice(f"going on with the download of {url} at {show_size(file.tell())}"))
        else:
            file.seek(0)
            file.truncate()
        length = response.headers.get("Content-Length", "")
        total = file.tell() + int(length) if length.isdigit() else None
        for chunk in _with_progress(_chunks(url, response), file, total, emit):
            file.write(chunk)
        file.flush()
        if total is not None and file.tell() < total:
            raise DownloadError(
                f"the download of {url} broke off after {file.tell()} of {total} bytes", hint="run the command again"
            )


def _chunks(url: str, response: HTTPResponse) -> Iterator[bytes]:
    with _reading(url):
        while chunk := response.read(CHUNK):
            yield chunk


def _with_progress(chunks: Iterator[bytes], file: BinaryIO, total: int | None, emit: Emit) -> Iterator[bytes]:
    due = time.monotonic() + PROGRESS_S
    for chunk in chunks:
        yield chunk
        if time.monotonic() >= due:
            share = f" of {show_size(total)} ({100 * file.tell() // total} %)" if total else ""
            emit(Notice(f"downloaded {show_size(file.tell())}{share}"))
            due = time.monotonic() + PROGRESS_S


def _verify(url: str, part: Path, wanted: Checksum | None) -> None:
    if wanted is None:
        return
    with open(part, "rb") as file:
        found = hashlib.file_digest(file, wanted.algorithm).hexdigest()
    if found != wanted.digest:
        part.unlink()
        raise HostError(
            f"{url} has the {wanted.algorithm} {found}, not {wanted.digest}; the download was thrown away",
            hint="run the command again; if it stays so, the image is not the one that was asked for",
        )


@contextlib.contextmanager
def _reading(url: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException) as exc:
        raise DownloadError(f"the download of {url} broke off: {_reason(exc)}", hint="run the command again") from exc


def _request(url: str, start: int = 0) -> HTTPResponse:
    headers = {"User-Agent": f"rum/{__version__}"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(url, headers=headers)
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        exc.close()
        if exc.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return _request(url)
        raise DownloadError(f"{url} cannot be downloaded: the server says {exc.code} {exc.reason}") from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        hint = "check the network; RUM_IMAGE_MIRROR names a directory or URL to take images from instead"
        raise DownloadError(f"{url} cannot be reached: {_reason(exc)}", hint=hint) from exc
    return response


def _reason(exc: BaseException) -> str:
    cause = exc.reason if isinstance(exc, urllib.error.URLError) else exc
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
