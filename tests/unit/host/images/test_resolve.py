"""Base images: real files, real qemu-img, a local HTTP server."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host import remedies
from rum.host.config.model import ImageConfig
from rum.host.errors import HostError
from rum.host.events import Event, Notice
from rum.host.images.checksums import Checksum
from rum.host.images.http_get import NotPublishedError
from rum.host.images.resolve import Published, create_overlay, require_unchanged, resolve_image
from rum.host.qemu_img import create_qcow2, grow_qcow2, image_info
from rum.host.store import VmState, save_state
from tests.unit.host.images.image_server import MIB, ImageServer, serving

FILE = "debian-12-genericcloud-amd64.qcow2"


@pytest.fixture
def server() -> Iterator[ImageServer]:
    with serving() as running:
        yield running


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("RUM_IMAGE_MIRROR", raising=False)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("rum.host.images.download.PAUSES_S", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "cache" / "rum" / "images"


@pytest.fixture
def raw() -> bytes:
    """A raw disk of 1 MiB with a boot signature and something in it."""
    content = bytearray(os.urandom(64 * 1024) * 16)
    content[510:512] = b"\x55\xaa"
    return bytes(content)


@pytest.fixture
def qcow2(tmp_path: Path, raw: bytes) -> bytes:
    (tmp_path / "source.raw").write_bytes(raw)
    path = tmp_path / "source.qcow2"
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", tmp_path / "source.raw", path], check=True, timeout=60
    )
    return path.read_bytes()


def resolve(base: str, directory: Path, **sums: str) -> tuple[Path, list[Event]]:
    events: list[Event] = []
    image = resolve_image(ImageConfig(base, **sums), directory, events.append)
    return Path(image.path), events


def failure(base: str, directory: Path, **sums: str) -> HostError:
    with pytest.raises(HostError) as caught:
        resolve_image(ImageConfig(base, **sums), directory, lambda event: None)
    return caught.value


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


class TestLocalFiles:
    def test_a_relative_path_starts_at_the_configuration(self, tmp_path: Path, qcow2: bytes) -> None:
        (tmp_path / "images").mkdir()
        (tmp_path / "images/my.qcow2").write_bytes(qcow2)
        image = resolve_image(ImageConfig("images/my.qcow2"), tmp_path, lambda event: None)
        assert (image.path, image.format, image.virtual_size) == (str(tmp_path / "images/my.qcow2"), "qcow2", MIB)
        assert image.reference == "images/my.qcow2"

    def test_of_two_checksums_both_must_be_right(self, tmp_path: Path, raw: bytes) -> None:
        (tmp_path / "disk.raw").write_bytes(raw)
        resolve("disk.raw", tmp_path, sha256=sha256(raw), sha512=sha512(raw))
        for wrong in ({"sha256": "0" * 64}, {"sha512": "0" * 128}):
            error = failure("disk.raw", tmp_path, **{"sha256": sha256(raw), "sha512": sha512(raw), **wrong})
            assert error.code == "checksum"

    def test_a_directory_named_like_an_image_that_rum_knows_does_not_hide_it(
        self, tmp_path: Path, raw: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", str(tmp_path / "mirror"))
        (tmp_path / "debian-12").mkdir()
        assert "mirror" in str(failure("debian-12", tmp_path))

    @pytest.mark.parametrize("path", ["~nosuchuser/x.qcow2", "loop.qcow2", f"{'x' * 300}.qcow2"])
    def test_a_path_that_leads_nowhere_is_one_sentence(self, tmp_path: Path, path: str) -> None:
        (tmp_path / "loop.qcow2").symlink_to("loop.qcow2")
        assert failure(path, tmp_path).hint == "check image.base in rum.toml"

    @pytest.mark.parametrize("mirror", ["~nosuchuser/x", "http://[x", "http:///x", "ftp://x/y", "http://h/\udcff"])
    def test_a_mirror_that_can_be_none_is_named(
        self, tmp_path: Path, mirror: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", mirror)
        error = failure("debian-12", tmp_path)
        assert str(error).startswith("RUM_IMAGE_MIRROR is ")
        assert "unset it" in str(error.hint)

    def test_a_raw_disk_is_taken(self, tmp_path: Path, raw: bytes) -> None:
        (tmp_path / "disk.raw").write_bytes(raw)
        image = resolve_image(ImageConfig("disk.raw"), tmp_path, lambda event: None)
        assert (image.format, image.virtual_size) == ("raw", MIB)

    def test_a_file_that_is_no_disk_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.img").write_bytes(b"hello\n" * 1000)
        assert "is not a disk image" in str(failure("notes.img", tmp_path))

    def test_an_empty_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "empty.img").touch()
        assert "is not a disk image" in str(failure("empty.img", tmp_path))

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        error = failure("none.qcow2", tmp_path)
        assert str(error) == f"there is no image file {tmp_path}/none.qcow2"
        assert error.hint

    def test_a_directory_is_no_image(self, tmp_path: Path) -> None:
        (tmp_path / "dir.img").mkdir()
        assert "there is no image file" in str(failure("dir.img", tmp_path))

    @pytest.mark.parametrize("keep", [200, 200_000])
    def test_a_truncated_qcow2_is_refused(self, tmp_path: Path, qcow2: bytes, keep: int) -> None:
        (tmp_path / "cut.qcow2").write_bytes(qcow2[:keep])
        assert str(tmp_path / "cut.qcow2") in str(failure("cut.qcow2", tmp_path))

    def test_a_qcow2_that_lost_its_last_bytes_is_refused(self, tmp_path: Path, qcow2: bytes) -> None:
        (tmp_path / "cut.qcow2").write_bytes(qcow2[:-65536])
        assert "cut.qcow2 is" in str(failure("cut.qcow2", tmp_path))

    def test_a_damaged_qcow2_is_refused(self, tmp_path: Path, qcow2: bytes) -> None:
        damaged = bytearray(qcow2)
        damaged[65536:131072] = b"\xff" * 65536
        (tmp_path / "bad.qcow2").write_bytes(damaged)
        assert "bad.qcow2" in str(failure("bad.qcow2", tmp_path))

    def test_an_overlay_is_no_base(self, tmp_path: Path, qcow2: bytes) -> None:
        (tmp_path / "base.qcow2").write_bytes(qcow2)
        create_qcow2(tmp_path / "over.qcow2", MIB, backing=(tmp_path / "base.qcow2", "qcow2"))
        error = failure("over.qcow2", tmp_path)
        assert "is not a whole image: it stands on" in str(error)
        assert "qemu-img convert" in (error.hint or "")

    def test_an_image_whose_data_is_in_another_file_is_refused(self, tmp_path: Path) -> None:
        # Any file of whoever runs rum could be that one, and the guest would read it.
        secret = tmp_path / "secret"
        options = ["-o", f"data_file={secret},data_file_raw=on"]
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", *options, tmp_path / "a.qcow2", "1M"], check=True, timeout=60
        )
        assert f"is not a whole image: its data is in {secret}" in str(failure("a.qcow2", tmp_path))

    def test_another_format_is_refused_with_the_command_that_converts_it(self, tmp_path: Path) -> None:
        path = tmp_path / "disk.img"
        subprocess.run(["qemu-img", "create", "-q", "-f", "vmdk", path, "1M"], check=True, timeout=60)
        assert "qemu-img convert" in (failure("disk.img", tmp_path).hint or "")

    def test_checksums_of_paths_are_checked(self, tmp_path: Path, qcow2: bytes) -> None:
        (tmp_path / "a.qcow2").write_bytes(qcow2)
        assert resolve("a.qcow2", tmp_path, sha512=sha512(qcow2))[0] == tmp_path / "a.qcow2"
        assert "has the sha256" in str(failure("a.qcow2", tmp_path, sha256="0" * 64))

    def test_a_file_comes_before_a_catalogue_name(self, tmp_path: Path, qcow2: bytes) -> None:
        (tmp_path / "debian-12").write_bytes(qcow2)
        assert resolve("debian-12", tmp_path)[0] == tmp_path / "debian-12"


class TestDownloads:
    def test_a_download_is_verified_and_kept(self, server: ImageServer, tmp_path: Path, qcow2: bytes) -> None:
        server.files["a.qcow2"] = qcow2
        url = f"{server.base}/a.qcow2"
        first, _ = resolve(url, tmp_path, sha256=sha256(qcow2))
        assert first.read_bytes() == qcow2
        again, _ = resolve(url, tmp_path, sha256=sha256(qcow2))
        assert (again, len(server.requests)) == (first, 1)

    def test_an_unverified_download_is_announced(self, server: ImageServer, tmp_path: Path, qcow2: bytes) -> None:
        server.files["a.qcow2"] = qcow2
        _, events = resolve(f"{server.base}/a.qcow2", tmp_path)
        assert any(isinstance(event, Notice) and event.warning and "verified" in event.text for event in events)

    def test_a_wrong_checksum_leaves_nothing(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes, cache: Path
    ) -> None:
        server.files["a.qcow2"] = qcow2
        error = failure(f"{server.base}/a.qcow2", tmp_path, sha256="0" * 64)
        assert f"has the sha256 {sha256(qcow2)}, not {'0' * 64}" in str(error)
        assert [path.suffix for path in cache.iterdir()] == [".lock"]

    def test_what_is_no_image_is_downloaded_anew_the_next_time(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes, cache: Path
    ) -> None:
        server.files["a.qcow2"] = b"<html>log in to the network of this hotel"
        error = failure(f"{server.base}/a.qcow2", tmp_path)
        assert "is not a disk image" in str(error)
        assert (error.hint or "").startswith("it was thrown away; run the command again")
        assert [path.suffix for path in cache.iterdir()] == [".lock"]
        server.files["a.qcow2"] = qcow2
        assert resolve(f"{server.base}/a.qcow2", tmp_path)[0].read_bytes() == qcow2

    def test_what_a_vm_stands_on_is_kept_whatever_became_of_it(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
        server.files["a.qcow2"] = qcow2
        base = resolve_image(ImageConfig(f"{server.base}/a.qcow2"), tmp_path, lambda event: None)
        vm = tmp_path / "state/rum/vms/demo-01234567"
        vm.mkdir(parents=True)
        save_state(vm / "state.json", VmState("", "demo", "01234567", "/demo/rum.toml", base, "", "qemu:///session"))
        path = Path(base.path)
        path.chmod(0o600)
        path.write_bytes(b"damaged")
        failure(f"{server.base}/a.qcow2", tmp_path)
        assert path.read_bytes() == b"damaged"

    def test_what_is_not_there_is_one_sentence(self, server: ImageServer, tmp_path: Path) -> None:
        error = failure(f"{server.base}/none.qcow2", tmp_path)
        assert str(error) == f"{server.base}/none.qcow2 cannot be downloaded: the server says 404 Not Found"

    def test_no_server_is_one_sentence(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            url = f"http://127.0.0.1:{unused.getsockname()[1]}/a.qcow2"
        error = failure(url, tmp_path)
        assert str(error) == f"{url} cannot be reached: Connection refused"
        assert "RUM_IMAGE_MIRROR" in (error.hint or "")

    def test_two_urls_of_one_file_name_are_two_files(self, server: ImageServer, tmp_path: Path, qcow2: bytes) -> None:
        server.files["a/x.qcow2"] = server.files["b/x.qcow2"] = qcow2
        paths = {resolve(f"{server.base}/{name}/x.qcow2", tmp_path)[0] for name in ("a", "b")}
        assert len(paths) == 2

    def test_two_at_a_time_download_once(self, server: ImageServer, tmp_path: Path, qcow2: bytes) -> None:
        server.files["a.qcow2"] = qcow2
        found: list[Path] = []
        arguments = (f"{server.base}/a.qcow2", tmp_path)

        def work() -> None:
            found.append(resolve(*arguments, sha256=sha256(qcow2))[0])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(set(found)) == 1
        assert len(server.requests) == 1


class TestMirror:
    @pytest.fixture(autouse=True)
    def mirror(self, server: ImageServer, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", f"{server.base}/mirror/")

    def test_a_url_with_its_own_checksums(self, server: ImageServer, tmp_path: Path, qcow2: bytes) -> None:
        server.files[f"mirror/{FILE}"] = qcow2
        server.files["mirror/SHA256SUMS"] = f"{'0' * 64}  other\n{sha256(qcow2)} *{FILE}\n".encode()
        assert resolve("debian-12", tmp_path)[0].read_bytes() == qcow2

    def test_a_new_release_is_a_new_file(self, server: ImageServer, tmp_path: Path, qcow2: bytes, raw: bytes) -> None:
        paths = []
        for content in (qcow2, raw):
            server.files[f"mirror/{FILE}"] = content
            server.files["mirror/SHA512SUMS"] = f"{sha512(content)}  {FILE}\n".encode()
            paths.append(resolve("debian-12", tmp_path)[0])
        assert [path.read_bytes() for path in paths] == [qcow2, raw]

    def test_without_a_network_the_last_download_is_used(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes
    ) -> None:
        server.files[f"mirror/{FILE}"] = qcow2
        server.files["mirror/SHA512SUMS"] = f"{sha512(qcow2)}  {FILE}\n".encode()
        path, _ = resolve("debian-12", tmp_path)
        server.files.clear()
        again, events = resolve("debian-12", tmp_path)
        assert again == path
        assert any(isinstance(event, Notice) and event.warning for event in events)

    def test_without_a_network_what_nobody_has_verified_does_not_count(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes
    ) -> None:
        server.files[f"mirror/{FILE}"] = qcow2
        resolve(f"{server.base}/mirror/{FILE}", tmp_path)
        server.files.clear()
        assert "404" in str(failure("debian-12", tmp_path))

    def test_a_list_that_does_not_know_the_image_is_an_error(self, server: ImageServer, tmp_path: Path) -> None:
        server.files["mirror/SHA512SUMS"] = b"nothing\n"
        assert f"mirror/SHA512SUMS has no checksum of {FILE}" in str(failure("debian-12", tmp_path))

    def test_a_mirror_without_lists_is_an_error(self, tmp_path: Path) -> None:
        assert "404" in str(failure("debian-12", tmp_path))

    def test_a_directory(self, tmp_path: Path, qcow2: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", str(tmp_path / "mirror"))
        (tmp_path / "mirror").mkdir()
        (tmp_path / "mirror" / FILE).write_bytes(qcow2)
        error = failure("debian-12", tmp_path)
        assert "cannot be verified" in str(error)
        assert "sha512sum" in (error.hint or "")
        (tmp_path / "mirror/SHA512SUMS").write_text(f"{sha512(qcow2)}  {FILE}\n")
        assert resolve("debian-12", tmp_path)[0] == tmp_path / "mirror" / FILE
        (tmp_path / "mirror" / FILE).write_bytes(qcow2[:-1])
        assert "has the sha512" in str(failure("debian-12", tmp_path))


class TestPublishers:
    """What a catalogue's entry comes to, with this host as the publisher."""

    @pytest.fixture
    def published(self, server: ImageServer) -> Published:
        return Published("fedora-43", "f.qcow2", (f"{server.base}/releases", f"{server.base}/archive"), ("CHECKSUM",))

    def test_a_release_that_has_moved_to_the_archive_is_found_there(
        self, server: ImageServer, published: Published, qcow2: bytes
    ) -> None:
        server.files["archive/f.qcow2"] = qcow2
        server.files["archive/CHECKSUM"] = f"SHA256 (f.qcow2) = {sha256(qcow2)}\n".encode()
        assert published.fetch(None, lambda event: None).read_bytes() == qcow2
        assert [path for path, _ in server.requests] == ["/releases/CHECKSUM", "/archive/CHECKSUM", "/archive/f.qcow2"]

    def test_a_release_that_is_nowhere_is_told_by_its_first_place(
        self, server: ImageServer, published: Published
    ) -> None:
        with pytest.raises(HostError) as caught:
            published.fetch(None, lambda event: None)
        assert str(caught.value).startswith(
            f"{server.base}/releases/CHECKSUM cannot be downloaded: the server says 404"
        )

    def test_a_publisher_in_trouble_is_not_taken_for_one_that_has_moved_it(
        self, server: ImageServer, published: Published
    ) -> None:
        server.statuses = [503] * 9
        with pytest.raises(HostError, match="503 Service Unavailable"):
            published.fetch(None, lambda event: None)
        assert {path for path, _ in server.requests} == {"/releases/CHECKSUM"}

    def test_a_checksum_of_rum_toml_needs_no_list(
        self, server: ImageServer, published: Published, qcow2: bytes
    ) -> None:
        server.files["releases/f.qcow2"] = qcow2
        assert published.fetch(Checksum("sha256", sha256(qcow2)), lambda event: None).read_bytes() == qcow2
        assert [path for path, _ in server.requests] == ["/releases/f.qcow2"]

    def test_the_catalogue_s_places_are_asked(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setattr("platform.machine", lambda: "aarch64")
        asked: list[str] = []

        def get(url: str, headers: object = None) -> None:
            asked.append(url)
            raise NotPublishedError(url)

        monkeypatch.setattr("rum.host.images.download.get", get)
        failure("fedora-43", tmp_path)
        below = "linux/releases/43/Cloud/aarch64/images/Fedora-Cloud-43-1.6-aarch64-CHECKSUM"
        assert asked == [f"https://dl.fedoraproject.org/pub/{top}/{below}" for top in ("fedora", "archive/fedora")]


class TestOverlays:
    @pytest.fixture
    def base(self, tmp_path: Path, qcow2: bytes) -> Path:
        path = tmp_path / "base.qcow2"
        path.write_bytes(qcow2)
        return path

    @pytest.mark.parametrize(("disk", "size"), [(10 * MIB, 10 * MIB), (512 * 1024, MIB)])
    def test_an_overlay_is_as_large_as_asked_but_never_smaller(
        self, base: Path, tmp_path: Path, disk: int, size: int
    ) -> None:
        image = resolve_image(ImageConfig(str(base)), tmp_path, lambda event: None)
        overlay = tmp_path / "overlay.qcow2"
        create_overlay(image, overlay, disk)
        info = image_info(overlay)
        assert (info.format, info.virtual_size, info.backing_file) == ("qcow2", size, str(base))
        assert overlay.stat().st_mode & 0o777 == 0o600

    def test_a_changed_base_is_noticed(self, base: Path, tmp_path: Path) -> None:
        image = resolve_image(ImageConfig(str(base)), tmp_path, lambda event: None)
        require_unchanged(image)
        os.utime(base, (1, 1))
        with pytest.raises(HostError, match="has changed since this VM's disk was made on it"):
            require_unchanged(image)
        base.unlink()
        with pytest.raises(HostError, match="is gone: No such file"):
            require_unchanged(image)

    def test_a_cache_that_was_emptied_can_be_filled_again(
        self, server: ImageServer, tmp_path: Path, qcow2: bytes
    ) -> None:
        server.files["a.qcow2"] = qcow2
        wanted = ImageConfig(f"{server.base}/a.qcow2", sha256=sha256(qcow2))
        image = resolve_image(wanted, tmp_path, lambda event: None)
        os.unlink(image.path)
        with pytest.raises(HostError, match="is gone: No such file") as caught:
            require_unchanged(image)
        assert f"rum image pull {wanted.base} --sha256 or --sha512 HEX" in (caught.value.hint or "")
        assert resolve_image(wanted, tmp_path, lambda event: None).path == image.path
        os.utime(image.path, (1, 1))
        require_unchanged(image)
        os.chmod(image.path, 0o600)
        os.truncate(image.path, 1000)
        with pytest.raises(HostError, match="has changed since"):
            require_unchanged(image)

    def test_disks_grow_and_never_shrink(self, tmp_path: Path) -> None:
        path = tmp_path / "drive.qcow2"
        create_qcow2(path, 4 * MIB)
        assert grow_qcow2(path, 8 * MIB)
        assert not grow_qcow2(path, 2 * MIB)
        assert image_info(path).virtual_size == 8 * MIB

    def test_a_place_that_cannot_be_written_is_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match="cannot be made"):
            create_qcow2(tmp_path / "none" / "x.qcow2", MIB)

    @pytest.mark.parametrize("is_there", [False, True])
    def test_a_missing_qemu_img_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: bool) -> None:
        if is_there:
            (tmp_path / "qemu-img").touch(0o644)
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(HostError) as caught:
            create_qcow2(tmp_path / "x.qcow2", MIB)
        assert caught.value.hint == remedies.install("qemu-img")
