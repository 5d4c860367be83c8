"""A base image that was removed under a VM's disk: it comes back where it came from, and only as it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.config.model import ImageConfig
from rum.host.errors import HostError
from rum.host.events import Event, Notice
from rum.host.images.resolve import require_unchanged, resolve_image
from rum.host.images.restore import restore_base
from rum.host.store import BaseImage
from tests.unit.host.images.image_server import ImageServer, serving

FILE = "debian-12-genericcloud-amd64.qcow2"
NAMED = ImageConfig("debian-12")


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageServer]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("rum.host.images.download.PAUSES_S", (0.0,))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving() as running:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", running.base)
        yield running


def disk(fill: int) -> bytes:
    """A raw disk of 64 KiB that has a boot signature."""
    content = bytearray([fill]) * 65536
    content[510:512] = b"\x55\xaa"
    return bytes(content)


def publish(server: ImageServer, content: bytes) -> None:
    """This is the mirror's image from now on."""
    server.files[FILE] = content
    server.files["SHA512SUMS"] = f"{hashlib.sha512(content).hexdigest()}  {FILE}\n".encode()


def ignored(_event: Event) -> None:
    """Nobody wants to see it."""


def removed(image: ImageConfig) -> BaseImage:
    """An image that was downloaded, used, and then removed by hand."""
    base = resolve_image(image, Path("/nonexistent"), ignored)
    Path(base.path).unlink()
    return base


def refused(base: BaseImage, image: ImageConfig) -> HostError:
    with pytest.raises(HostError) as caught:
        restore_base(base, image, ignored)
    return caught.value


def test_an_image_of_the_catalogue_comes_back(server: ImageServer) -> None:
    publish(server, disk(1))
    base = removed(NAMED)
    events: list[Event] = []
    assert restore_base(base, NAMED, events.append)
    assert Path(base.path).read_bytes() == disk(1)
    require_unchanged(base)
    assert any(isinstance(event, Notice) and f"{base.path} of this VM is gone" in event.text for event in events)


def test_one_that_is_there_is_left_alone(server: ImageServer) -> None:
    publish(server, disk(1))
    base = resolve_image(NAMED, Path("/nonexistent"), ignored)
    server.requests.clear()
    assert not restore_base(base, NAMED, ignored)
    assert server.requests == []


def test_another_build_under_the_same_name_is_not_downloaded(server: ImageServer) -> None:
    publish(server, disk(1))
    base = removed(NAMED)
    publish(server, disk(2))
    server.requests.clear()
    error = refused(base, NAMED)
    assert "which this VM's disk stands on, is gone" in str(error)
    assert "rum destroy" in (error.hint or "")
    assert f"/{FILE}" not in [path for path, _ in server.requests]


def test_one_with_a_checksum_in_rum_toml_comes_back_from_its_url(server: ImageServer) -> None:
    publish(server, disk(1))
    image = ImageConfig(f"{server.base}/{FILE}", sha256=hashlib.sha256(disk(1)).hexdigest())
    base = removed(image)
    assert restore_base(base, image, ignored)
    require_unchanged(base)


def test_not_without_that_checksum(server: ImageServer) -> None:
    publish(server, disk(1))
    image = ImageConfig(f"{server.base}/{FILE}", sha256=hashlib.sha256(disk(1)).hexdigest())
    base = removed(image)
    other = ImageConfig("debian-13", sha256="0" * 64)
    assert "is gone: No such file" in str(refused(base, other))
    unverified = removed(ImageConfig(f"{server.base}/{FILE}"))
    assert not restore_base(unverified, ImageConfig(f"{server.base}/{FILE}"), ignored), "it may be any file by now"


def test_a_file_of_the_users_own_does_not_come_back(tmp_path: Path) -> None:
    (tmp_path / "own.img").write_bytes(disk(1))
    assert not restore_base(removed(ImageConfig(str(tmp_path / "own.img"))), NAMED, ignored)


def test_one_that_cannot_be_looked_at_is_left_to_who_needs_it(tmp_path: Path) -> None:
    round_in_circles = tmp_path / "own.img"
    round_in_circles.symlink_to(round_in_circles)
    base = BaseImage("own.img", f"{round_in_circles}/x", "raw", 1, 1, 1)
    assert not restore_base(base, NAMED, ignored)
    assert "is gone: Too many levels of symbolic links" in str(refused_by(base))


def refused_by(base: BaseImage) -> HostError:
    with pytest.raises(HostError) as caught:
        require_unchanged(base)
    return caught.value


def test_a_publisher_that_is_not_reached_is_one_sentence(server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(server, disk(1))
    base = removed(NAMED)
    server.statuses[:] = [503] * 10
    error = refused(base, NAMED)
    assert str(error).startswith(f"the base image {base.path}, which this VM's disk stands on, is gone, and cannot be")
    assert "503" in str(error)
    assert error.code == "download"
