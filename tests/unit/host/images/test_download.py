"""Downloads from a server with bad habits: what resumes, what is refused, what is kept."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rum.host.errors import HostError
from rum.host.events import Event, Notice, Progress
from rum.host.images import download as module
from rum.host.images import http_get
from rum.host.images.checksums import Checksum
from rum.host.images.download import LIST_MAX, download, fetch_text
from rum.host.images.http_get import DownloadError, NotPublishedError
from tests.unit.host.images.image_server import MIB, ImageServer, serving

CONTENT = os.urandom(3 * MIB)
OTHER = os.urandom(3 * MIB)
CHECKSUM = Checksum("sha256", hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serving() as running:
        running.files["a.img"] = CONTENT
        yield running


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def checksum(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest())


class Target:
    """Where a download goes to, and what was said meanwhile."""

    def __init__(self, server: ImageServer, directory: Path) -> None:
        self.url = f"{server.base}/a.img"
        self.path = directory / "a.img"
        self.part = directory / "a.img.part"
        self.events: list[Event] = []

    def download(self, wanted: Checksum | None = CHECKSUM) -> bytes:
        download(self.url, self.path, wanted, self.events.append)
        return self.path.read_bytes()

    def failure(self, wanted: Checksum | None = CHECKSUM) -> HostError:
        with pytest.raises(HostError) as caught:
            self.download(wanted)
        assert not self.path.exists()
        return caught.value

    @property
    def notices(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Notice))


@pytest.fixture
def target(server: ImageServer, tmp_path: Path) -> Target:
    return Target(server, tmp_path)


def test_a_download_is_read_only_and_leaves_nothing_beside_it(target: Target, tmp_path: Path) -> None:
    assert target.download() == CONTENT
    assert target.path.stat().st_mode & 0o777 == 0o444
    assert [path.name for path in tmp_path.iterdir()] == ["a.img"]


class TestResuming:
    def test_a_transfer_that_breaks_off_goes_on_by_itself(self, server: ImageServer, target: Target) -> None:
        server.cuts = [500_000]
        assert target.download() == CONTENT
        assert server.requests == [("/a.img", ""), ("/a.img", "bytes=500000-")]
        assert f"broke off after 500000 of {len(CONTENT)} bytes; trying again in 0 s" in target.notices
        assert f"going on with the download of {target.url} at 488 KiB" in target.notices

    def test_one_that_always_breaks_off_gives_up_and_keeps_what_has_arrived(
        self, server: ImageServer, target: Target
    ) -> None:
        server.cut_after = 1000
        error = target.failure()
        assert str(error) == f"the download of {target.url} broke off after 4000 of {len(CONTENT)} bytes"
        assert error.hint == "run the command again; it goes on from there"
        server.cut_after = None
        assert target.download() == CONTENT
        assert server.requests[-1] == ("/a.img", "bytes=4000-")

    def test_whoever_gets_on_may_break_off_as_often_as_it_likes(
        self, server: ImageServer, target: Target, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "NEW_BYTES_MIN", 100_000)
        server.cut_after = 300_000
        assert target.download() == CONTENT
        assert len(server.requests) == 11

    def test_a_server_that_ignores_ranges_starts_over(self, server: ImageServer, target: Target) -> None:
        server.ranges = False
        server.cuts = [1000]
        assert target.download() == CONTENT
        assert server.requests[1] == ("/a.img", "bytes=1000-")

    @pytest.mark.parametrize("header", ["ETag", "Last-Modified"])
    @pytest.mark.parametrize("if_range", [True, False])
    def test_two_versions_are_never_joined(
        self, server: ImageServer, target: Target, header: str, if_range: bool
    ) -> None:
        server.headers, server.cut_after, server.if_range = {header: '"one"'}, 1000, if_range
        target.failure(None)
        server.files["a.img"], server.headers, server.cut_after = OTHER, {header: '"two"'}, None
        assert target.download(None) == OTHER

    def test_an_unverified_download_goes_on_where_the_server_tells_versions_apart(
        self, server: ImageServer, target: Target
    ) -> None:
        server.headers, server.cuts = {"ETag": '"one"'}, [1000]
        assert target.download(None) == CONTENT
        assert [wanted for _, wanted in server.requests] == ["", "bytes=1000-"]

    @pytest.mark.parametrize("headers", [{}, {"ETag": 'W/"weak"'}])
    def test_an_unverified_download_starts_over_where_it_does_not(
        self, server: ImageServer, target: Target, headers: dict[str, str]
    ) -> None:
        server.headers, server.cuts = headers, [1000]
        assert target.download(None) == CONTENT
        assert [wanted for _, wanted in server.requests] == ["", ""]

    def test_two_halves_that_do_not_belong_together_are_noticed_and_replaced(
        self, server: ImageServer, target: Target
    ) -> None:
        server.files["a.img"], server.cut_after = OTHER, 1000
        target.failure()
        server.files["a.img"], server.cut_after = CONTENT, None
        assert target.download() == CONTENT
        assert "is damaged; it is downloaded anew" in target.notices

    def test_a_file_that_has_become_shorter_starts_over(self, server: ImageServer, target: Target) -> None:
        server.files["a.img"], server.cut_after = OTHER, 1000
        target.failure()
        server.files["a.img"], server.cut_after = CONTENT[:500], None
        assert target.download(checksum(CONTENT[:500])) == CONTENT[:500]

    def test_what_was_whole_but_not_published_is_not_downloaded_again(
        self, server: ImageServer, target: Target
    ) -> None:
        server.cut_after = 1000
        target.failure()
        target.part.write_bytes(CONTENT)
        requests = len(server.requests)
        assert target.download() == CONTENT
        assert len(server.requests) == requests

    def test_a_part_of_which_nobody_knows_what_it_is_is_thrown_away(
        self, server: ImageServer, target: Target, tmp_path: Path
    ) -> None:
        target.part.write_bytes(OTHER[:1000])
        assert target.download() == CONTENT
        (tmp_path / "a.img.part.json").write_text("{")
        target.part.write_bytes(OTHER[:1000])
        target.path.unlink()
        assert target.download() == CONTENT
        assert {wanted for _, wanted in server.requests} == {""}

    def test_kill_9_in_the_middle_loses_nothing(self, server: ImageServer, target: Target) -> None:
        server.stall_after = 2 * MIB
        program = (
            "import sys; from pathlib import Path; from rum.host.images.checksums import Checksum;"
            "from rum.host.images.download import download;"
            "download(sys.argv[1], Path(sys.argv[2]), Checksum('sha256', sys.argv[3]), print)"
        )
        arguments = [target.url, str(target.path), checksum(CONTENT).digest]
        process = subprocess.Popen([sys.executable, "-c", program, *arguments])
        wait_for(lambda: target.part.exists() and target.part.stat().st_size >= MIB, "the first bytes")
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        kept = target.part.stat().st_size
        server.stall_after = None
        assert target.download() == CONTENT
        assert server.requests[-1] == ("/a.img", f"bytes={kept}-")


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, f"waited for {what}"
        threading.Event().wait(0.01)


class TestBodies:
    def test_the_wrong_content_is_thrown_away(self, server: ImageServer, target: Target, tmp_path: Path) -> None:
        error = target.failure(checksum(OTHER))
        assert f"has the sha256 {checksum(CONTENT).digest}, not {checksum(OTHER).digest}" in str(error)
        assert not isinstance(error, DownloadError), "or an older image would be taken instead"
        assert list(tmp_path.iterdir()) == []
        assert len(server.requests) == 1

    def test_chunks(self, server: ImageServer, target: Target) -> None:
        server.chunked = True
        assert target.download(None) == CONTENT

    def test_chunks_that_break_off(self, server: ImageServer, target: Target) -> None:
        server.chunked, server.cut_after, server.ranges = True, 200_000, False
        assert str(target.failure(None)) == f"the download of {target.url} broke off: the connection was closed"

    def test_a_body_without_an_end(
        self, server: ImageServer, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LENGTH_MAX", 4 * MIB)
        server.endless = True
        assert str(target.failure()) == f"{target.url} does not say how long it is, and has not ended after 4 MiB"
        assert list(tmp_path.iterdir()) == []

    def test_a_length_that_is_too_large(self, server: ImageServer, target: Target) -> None:
        server.says_length = len(CONTENT) + 5
        assert f"broke off after {len(CONTENT)} of {len(CONTENT) + 5} bytes" in str(target.failure())

    def test_a_length_that_is_too_small(self, server: ImageServer, target: Target) -> None:
        server.says_length = 1000
        assert "has the sha256" in str(target.failure())

    @pytest.mark.parametrize("trickle", [False, True])
    def test_a_server_that_stalls(
        self, server: ImageServer, target: Target, monkeypatch: pytest.MonkeyPatch, trickle: bool
    ) -> None:
        # Long enough for a busy host to connect in.
        monkeypatch.setattr(http_get, "TIMEOUT_S", 2.0)
        monkeypatch.setattr(module, "PAUSES_S", ())
        server.stall_after, server.trickle = 1000, trickle
        assert f"the download of {target.url} stalls: " in str(target.failure())
        assert len(server.requests) == 1

    def test_a_list_that_hardly_comes(self, server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_get, "TIMEOUT_S", 2.0)
        monkeypatch.setattr(module, "PAUSES_S", ())
        server.files["SHA256SUMS"] = bytes(MIB)
        server.stall_after, server.trickle = 1000, True
        with pytest.raises(DownloadError, match="stalls: "):
            fetch_text(f"{server.base}/SHA256SUMS", lambda event: None)

    def test_a_list_without_an_end_is_read_as_far_as_one_may_be_long(self, server: ImageServer) -> None:
        server.files["SHA256SUMS"] = bytes(MIB)
        server.endless = True
        assert len(fetch_text(f"{server.base}/SHA256SUMS", lambda event: None)) == LIST_MAX

    def test_progress_is_told_from_where_the_download_goes_on(self, target: Target) -> None:
        target.part.write_bytes(CONTENT[:MIB])
        target.download()
        told = [event for event in target.events if isinstance(event, Progress)]
        assert [event.done for event in told] == sorted(event.done for event in told)
        assert told[0].done > 0
        assert told[-1] == Progress("a.img", len(CONTENT), len(CONTENT))


class TestDisk:
    def test_a_file_that_cannot_fit_is_refused_before_it_comes(self, server: ImageServer, target: Target) -> None:
        server.says_length = 1 << 60
        error = target.failure()
        assert f"{target.url} still has 1048576 TiB to come, and {target.part.parent} has room for" in str(error)
        assert "rum image remove --unused" in (error.hint or "")
        assert not target.part.exists()

    def test_a_disk_that_fills_up_meanwhile_is_one_sentence(self, target: Target) -> None:
        # What a file may have is a limit that an ordinary user can reach without filling a disk.
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, before[1]))
        try:
            error = target.failure()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert str(error) == f"{target.part} cannot be written: File too large"
        assert target.download() == CONTENT


class TestAnswers:
    @pytest.mark.parametrize("status", [404, 410])
    def test_what_is_not_there_is_not_asked_for_again(self, server: ImageServer, target: Target, status: int) -> None:
        server.statuses = [status]
        error = target.failure()
        assert isinstance(error, NotPublishedError)
        assert f"{target.url} cannot be downloaded: the server says {status}" in str(error)
        assert len(server.requests) == 1

    def test_what_is_forbidden_is_not_asked_for_again(self, server: ImageServer, target: Target) -> None:
        server.statuses = [403]
        assert str(target.failure()) == f"{target.url} cannot be downloaded: the server says 403 Forbidden"
        assert len(server.requests) == 1

    def test_a_server_in_trouble_is_asked_again(self, server: ImageServer, target: Target) -> None:
        server.statuses = [500, 503, 429]
        assert target.download() == CONTENT
        assert len(server.requests) == 4

    def test_a_server_that_stays_in_trouble_is_one_sentence(self, server: ImageServer, target: Target) -> None:
        server.statuses = [503] * 9
        assert str(target.failure()) == f"{target.url} cannot be downloaded: the server says 503 Service Unavailable"
        assert len(server.requests) == 4

    def test_a_list_is_asked_for_again_too(self, server: ImageServer) -> None:
        server.files["SHA256SUMS"] = b"list"
        server.statuses = [502]
        assert fetch_text(f"{server.base}/SHA256SUMS", lambda event: None) == "list"

    @pytest.mark.parametrize("place", ["/b.img", "b.img"])
    def test_redirects_are_followed(self, server: ImageServer, target: Target, place: str) -> None:
        server.files["b.img"] = server.files.pop("a.img")
        server.redirects["/a.img"] = place
        server.cuts = [1000]
        assert target.download() == CONTENT
        assert server.requests[-1] == ("/b.img", "bytes=1000-")

    def test_redirects_in_a_circle_are_one_sentence(self, server: ImageServer, target: Target) -> None:
        server.redirects["/a.img"] = "/a.img"
        assert str(target.failure()) == f"{target.url} cannot be downloaded: its redirects lead nowhere"

    @pytest.mark.parametrize(
        ("place", "expected"),
        [("ftp://127.0.0.1/a.img", "rum does not follow it"), ("file:///etc/passwd", "its redirects lead nowhere")],
    )
    def test_a_redirect_to_something_else_is_refused(
        self, server: ImageServer, target: Target, place: str, expected: str
    ) -> None:
        server.redirects["/a.img"] = place
        assert expected in str(target.failure())


def self_signed(directory: Path) -> Path:
    """A certificate for the loopback address and its key, in one file."""
    key, path = directory / "key.pem", directory / "certificate.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    more = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *more], check=True, capture_output=True, timeout=60)
    path.write_bytes(path.read_bytes() + key.read_bytes())
    return path


def test_an_encrypted_download_never_becomes_a_plain_one(
    server: ImageServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = self_signed(tmp_path)
    with serving(certificate) as encrypted:
        encrypted.files["b.img"] = CONTENT
        encrypted.redirects = {"/good.img": "/b.img", "/bad.img": f"{server.base}/a.img"}
        with pytest.raises(DownloadError, match="certificate"):
            fetch_text(f"{encrypted.base}/b.img", lambda event: None)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        download(f"{encrypted.base}/good.img", tmp_path / "good.img", checksum(CONTENT), lambda event: None)
        with pytest.raises(DownloadError) as caught:
            download(f"{encrypted.base}/bad.img", tmp_path / "bad.img", checksum(CONTENT), lambda event: None)
    places = f"{encrypted.base}/bad.img leads to {server.base}/a.img"
    assert str(caught.value) == f"{places}, which is not encrypted; rum does not follow it"
    assert server.requests == []


def test_the_proxy_variables_count(server: ImageServer, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", server.base)
    target.url = "http://images.invalid/a.img"
    assert target.download() == CONTENT
    assert server.requests == [("/a.img", "")]
