"""A publisher of images on the loopback interface, with the bad habits that a test asks for."""

from __future__ import annotations

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MIB = 1 << 20


class ImageServer:
    """Serves `files` by path."""

    def __init__(self, scheme: str, port: int) -> None:
        self.base = f"{scheme}://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        """Path and Range of every request."""
        self.headers: dict[str, str] = {}
        """Sent with every file."""
        self.ranges = True
        """Whether it knows Range; False: it ignores it."""
        self.if_range = True
        """Whether it knows If-Range."""
        self.cuts: list[int] = []
        """The next answers break off after so many bytes."""
        self.cut_after: int | None = None
        """Every answer does."""
        self.says_length: int | None = None
        """A Content-Length that is not true."""
        self.statuses: list[int] = []
        """What the next answers are instead of a file."""
        self.redirects: dict[str, str] = {}
        self.chunked = False
        self.endless = False
        """Chunks for ever."""
        self.stall_after: int | None = None
        """Then nothing more is sent until `stalled` is set."""
        self.trickle = False
        """While it stalls, a byte now and then."""
        self.stalled = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    state: ImageServer

    def do_GET(self) -> None:
        state, wanted = self.state, self.headers.get("Range", "")
        # A proxy is sent whole URLs.
        path = "/" + self.path.split("://", 1)[-1].partition("/")[2] if "://" in self.path else self.path
        state.requests.append((path, wanted))
        if state.statuses:
            self.send_error(state.statuses.pop(0))
        elif path in state.redirects:
            self.answer(302, {"Location": state.redirects[path], "Content-Length": "0"})
        elif path.lstrip("/") not in state.files:
            self.send_error(404)
        else:
            self.send_file(state.files[path.lstrip("/")], wanted)

    def answer(self, status: int, headers: dict[str, str]) -> None:
        """Status line and headers."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def send_file(self, content: bytes, wanted: str) -> None:
        """The file, or the rest of it."""
        state = self.state
        validator = state.headers.get("ETag") or state.headers.get("Last-Modified")
        ranged = state.ranges and wanted
        if ranged and state.if_range and self.headers.get("If-Range", validator) != validator:
            ranged = ""
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        if start and start >= len(content):
            self.send_error(416)
            return
        headers = dict(state.headers)
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if state.chunked or state.endless:
            headers["Transfer-Encoding"] = "chunked"
        else:
            headers["Content-Length"] = str(state.says_length or len(content) - start)
        self.answer(206 if start else 200, headers)
        self.send_body(content[start:])

    def send_body(self, content: bytes) -> None:
        """As much of it as the habits allow."""
        state = self.state
        cut = state.cuts.pop(0) if state.cuts else state.cut_after
        if state.chunked or state.endless:
            self.send_chunks(content, cut)
        elif state.stall_after is not None:
            self.stall(content)
        else:
            self.wfile.write(content[:cut])
            self.close_connection = True

    def send_chunks(self, content: bytes, cut: int | None) -> None:
        """The content in chunks; endless: again and again."""
        with contextlib.suppress(OSError):
            while True:
                for start in range(0, len(content[:cut]), 100_000):
                    piece = content[:cut][start : start + 100_000]
                    self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
                if not self.state.endless:
                    break
            if cut is None:
                self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    def stall(self, content: bytes) -> None:
        """Some of the content, then nothing or nearly nothing."""
        state = self.state
        after = state.stall_after or 0
        self.wfile.write(content[:after])
        with contextlib.suppress(OSError):
            deadline = time.monotonic() + 30
            while not state.stalled.wait(0.02) and time.monotonic() < deadline:
                if state.trickle:
                    self.wfile.write(content[after : after + 1])
                    after += 1
            if not state.trickle:
                self.wfile.write(content[after:])
        self.close_connection = True

    def log_message(self, *args: object) -> None:
        """The tests look at `requests`."""


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[ImageServer]:
    """A server on a free port of the loopback interface; with a certificate and its key in one file: by TLS."""

    class Answering(Handler):
        """For this server alone."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    state = Answering.state = ImageServer("https" if certificate else "http", httpd.server_address[1])
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield state
    finally:
        state.stalled.set()
        httpd.shutdown()
        thread.join()
        httpd.server_close()
