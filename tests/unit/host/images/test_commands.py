"""`rum image`: through the command line, with a real publisher, real files and real locks."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.json_lines import checked
from rum.host.__main__ import main
from rum.host.config.model import ImageConfig
from rum.host.images.cache import Source, cache_path
from rum.host.images.catalogue import CATALOGUE
from rum.host.images.lock import image_lock
from rum.host.images.resolve import resolve_image
from rum.host.store import BaseImage, VmLock, VmState, save_state
from tests.unit.host.images.image_server import MIB, ImageServer, serving

FILE = "debian-12-genericcloud-amd64.qcow2"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    monkeypatch.setattr("rum.host.images.download.PAUSES_S", ())
    for name in ("cache", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache/rum/images"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ImageServer]:
    path = tmp_path / "source.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, "1G"], check=True, timeout=60)
    with serving() as running:
        publish(running, path.read_bytes())
        monkeypatch.setenv("RUM_IMAGE_MIRROR", running.base)
        yield running


def publish(server: ImageServer, content: bytes) -> None:
    server.files[FILE] = content
    server.files["SHA512SUMS"] = f"{hashlib.sha512(content).hexdigest()}  {FILE}\n".encode()


def make_vm(name: str, image: Path, tmp_path: Path) -> Path:
    """A VM as far as images are concerned; its directory."""
    base = BaseImage("debian-12", str(image), "qcow2", image.stat().st_size, image.stat().st_mtime_ns, MIB)
    state = VmState("id", name, "01234567", f"/srv/{name}/rum.toml", base, "hash", "qemu:///session")
    directory = tmp_path / "state/rum/vms" / f"{name}-01234567"
    directory.mkdir(parents=True)
    save_state(directory / "state.json", state)
    return directory


class Command:
    """`rum image ...`, and what it printed."""

    def __init__(self, capfd: pytest.CaptureFixture[str], *arguments: str) -> None:
        capfd.readouterr()
        self.exit = main(["image", *arguments])
        self.out, self.err = capfd.readouterr()


def pulled(cache: Path) -> Path:
    (found,) = cache.glob("*.qcow2")
    return found


def test_pull_downloads_as_up_would(
    server: ImageServer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = Command(capfd, "pull", "debian-12")
    assert (command.exit, command.err) == (0, "")
    assert command.out.splitlines()[1:] == [f"debian-12 (qcow2, 1 GiB) is in {pulled(cache)}"]
    image = resolve_image(ImageConfig("debian-12"), tmp_path, lambda event: None)
    assert image.path == str(pulled(cache))
    assert [path for path, _ in server.requests].count(f"/{FILE}") == 1


def test_pull_takes_a_url_with_its_checksum(server: ImageServer, capfd: pytest.CaptureFixture[str]) -> None:
    url, digest = f"{server.base}/{FILE}", hashlib.sha256(server.files[FILE]).hexdigest()
    assert Command(capfd, "pull", url, "--sha256", digest.upper()).exit == 0
    assert Command(capfd, "pull", url, "--sha256", "0" * 64).exit == 3
    wrong = Command(capfd, "pull", url, "--sha256", "123")
    assert (wrong.exit, "64 hexadecimal digits" in wrong.err) == (2, True)


@pytest.mark.parametrize(
    ("base", "expected"),
    [("debain-12", "did you mean debian-12?"), ("./mine.qcow2", "neither a URL nor an image that rum knows")],
)
def test_pull_of_what_is_no_image_is_one_sentence(base: str, expected: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = Command(capfd, "pull", base)
    assert (command.exit, expected in command.err) == (2, True)


class TestList:
    def test_names_say_what_there_is_of_them(
        self, server: ImageServer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Command(capfd, "pull", "debian-12")
        make_vm("dev", pulled(cache), tmp_path)
        lines = Command(capfd, "list").out.splitlines()
        assert lines[0].split() == ["IMAGE", "DOWNLOADED", "SIZE", "USED", "BY", "FILE"]
        rows = {line.split()[0]: line.split()[1:] for line in lines[1:-1]}
        assert set(rows) == set(CATALOGUE)
        assert rows["debian-13"] == ["-"]
        assert rows["debian-12"][-2:] == ["dev", pulled(cache).name]
        assert lines[-1] == f"1 file, 192 KiB in {cache}"

    def test_json_is_one_object(
        self, server: ImageServer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Command(capfd, "pull", "debian-12")
        make_vm("dev", pulled(cache), tmp_path)
        make_vm("broken", pulled(cache), tmp_path).joinpath("state.json").write_text("{")
        (line,) = Command(capfd, "list", "-o", "json").out.splitlines()
        found = checked(line)
        (image,) = found["images"]
        assert (image["name"], image["path"], image["whole"]) == ("debian-12", str(pulled(cache)), True)
        assert image["used_by"] == [{"name": "dev", "config": "/srv/dev/rum.toml"}]
        assert image["url"] == f"{server.base}/{FILE}"
        assert {entry["name"] for entry in found["catalogue"]} == set(CATALOGUE)
        assert [vm["name"] for vm in found["unreadable_vms"]] == ["broken-01234567"]

    def test_what_has_begun_to_arrive_is_listed(
        self, server: ImageServer, cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        server.cut_after = 1000
        url = f"{server.base}/{FILE}"
        assert Command(capfd, "pull", url).exit == 3
        listed = Command(capfd, "list").out
        assert f"{url}  unfinished" in listed.replace("   ", "  ")
        assert Command(capfd, "remove", url).exit == 0
        assert list(cache.iterdir()) == []

    def test_a_file_whose_origin_nobody_wrote_down_is_known_by_its_url(
        self, cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        cache.mkdir(parents=True)
        cache_path(Source(CATALOGUE["debian-13"]["x86_64"].url, None)).write_bytes(b"x")
        (cache / "0123-unverified.img").write_bytes(b"x")
        lines = Command(capfd, "list").out.splitlines()
        assert [line.split()[1] for line in lines if line.startswith("debian-13")] != ["-"]
        assert lines[-2].split()[0] == "0123-unverified.img"

    def test_what_is_no_file_is_passed_over(self, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (cache / "directory.qcow2").mkdir(parents=True)
        (cache / "dangling.img").symlink_to("nowhere")
        (cache / "notes.txt").write_text("x")
        assert Command(capfd, "list").out.endswith(f"0 files, 0 bytes in {cache}\n")

    def test_a_cache_that_is_no_directory_is_one_sentence(self, cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
        cache.parent.mkdir(parents=True)
        cache.write_text("x")
        assert Command(capfd, "list").exit == 0
        command = Command(capfd, "pull", "http://127.0.0.1:1/a.img")
        assert (command.exit, command.err.splitlines()[0]) == (
            3,
            f"rum: {cache} cannot be made a directory: File exists",
        )

    def test_a_vm_that_cannot_be_read_is_told(
        self, server: ImageServer, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        Command(capfd, "pull", "debian-12")
        make_vm("broken", pulled(cache), tmp_path).joinpath("state.json").write_text("{")
        command = Command(capfd, "list")
        assert command.exit == 0
        assert "it may stand on any image" in command.err


class TestRemove:
    @pytest.fixture(autouse=True)
    def image(self, server: ImageServer, cache: Path, capfd: pytest.CaptureFixture[str]) -> Path:
        Command(capfd, "pull", "debian-12")
        return pulled(cache)

    @pytest.mark.parametrize("how", ["name", "file", "path", "url", "unused"])
    def test_nothing_is_left(
        self, server: ImageServer, image: Path, cache: Path, capfd: pytest.CaptureFixture[str], how: str
    ) -> None:
        targets = {"name": "debian-12", "file": image.name, "path": str(image), "url": f"{server.base}/{FILE}"}
        command = Command(capfd, "remove", targets.get(how, "--unused"))
        assert command.out == f"removed debian-12 ({image.name})\n1 file removed, 192 KiB\n"
        assert list(cache.iterdir()) == []

    def test_one_in_use_is_refused_by_the_vm_s_name_and_nothing_is_removed(
        self, server: ImageServer, image: Path, cache: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        make_vm("dev", image, tmp_path)
        make_vm("test", image, tmp_path)
        publish(server, server.files[FILE] + bytes(65536))
        Command(capfd, "pull", "debian-12")
        command = Command(capfd, "remove", "debian-12")
        assert command.exit == 3
        users = "VM dev of /srv/dev/rum.toml and VM test of /srv/test/rum.toml"
        assert command.err.splitlines()[0] == f"rum: debian-12 ({image.name}) is in use by {users}"
        assert len(list(cache.glob("*.qcow2"))) == 2
        assert Command(capfd, "remove", "--unused").exit == 0
        assert pulled(cache) == image

    def test_a_vm_that_cannot_be_read_counts_as_in_use(
        self, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        state = make_vm("broken", image, tmp_path) / "state.json"
        state.write_text("{")
        for target in ("debian-12", "--unused"):
            command = Command(capfd, "remove", target)
            assert command.exit == 3
            assert f"debian-12 may be in use: {state} cannot be read" in command.err
        assert image.exists()

    def test_a_vm_that_is_just_being_made_counts_as_in_use(
        self, image: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        directory = make_vm("new", image, tmp_path)
        (directory / "state.json").unlink()
        with VmLock(tmp_path / "state/rum/locks" / directory.name).hold(lambda event: None):
            command = Command(capfd, "remove", "--unused")
            assert command.exit == 3
            assert "the VM new-01234567 is just being made" in command.err
        assert Command(capfd, "remove", "--unused").exit == 0, "what is left of one that was never made"

    def test_a_download_that_goes_on_is_left_alone(
        self, server: ImageServer, image: Path, cache: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        image.rename(image.with_name(f"{image.name}.part"))
        program = (
            "import sys, pathlib; from rum.host.images.lock import image_lock\n"
            "with image_lock(pathlib.Path(sys.argv[1]), 'x', print): print('held', flush=True); sys.stdin.read()"
        )
        holder = subprocess.Popen(
            [sys.executable, "-c", program, str(image)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        command = Command(capfd, "remove", "debian-12")
        assert command.exit == 3
        assert f"debian-12 is being downloaded by the rum process {holder.pid}" in command.err
        assert Command(capfd, "remove", "--unused").out == "there is nothing to remove\n"
        holder.communicate(timeout=20)
        assert Command(capfd, "remove", "--unused").exit == 0
        assert list(cache.iterdir()) == []

    def test_whoever_waits_for_a_lock_that_was_removed_takes_the_new_one(self, image: Path) -> None:
        with image_lock(image, "x", lambda event: None):
            image.with_name(f"{image.name}.lock").unlink()
            with image_lock(image, "x", lambda event: None):
                assert image.with_name(f"{image.name}.lock").exists()

    @pytest.mark.parametrize("arguments", [(), ("debian-12", "--unused")])
    def test_what_to_remove_must_be_said_once(
        self, arguments: tuple[str, ...], capfd: pytest.CaptureFixture[str]
    ) -> None:
        assert Command(capfd, "remove", *arguments).exit == 2

    def test_what_is_not_there_is_one_sentence(self, capfd: pytest.CaptureFixture[str]) -> None:
        command = Command(capfd, "remove", "debian-13")
        assert (command.exit, command.err.splitlines()[0]) == (2, "rum: debian-13 is no downloaded image")
