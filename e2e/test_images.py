"""Two VMs that are made at once of one download: one boots by EFI without any network card, one as most do."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import json
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.images.host import MACHINE
from e2e.project import RUM, Json, Outcome, Project
from rum.host import CATALOGUE

FILE = CATALOGUE["debian-12"][MACHINE].file

SCRIPTS = """
[provision.system]
script = "echo network: $(ls /sys/class/net)"
after = "network-online"

[provision.boot]
script = "echo b >> /var/tmp/boots"
after = "network-online"
"""

WITHOUT_NETWORK = """
[network]
mode = "none"

[advanced]
firmware = "efi"
"""


def image_file(image: str) -> Path:
    """The image's file, downloaded if it is none itself."""
    if Path(image).is_file():
        return Path(image)
    subprocess.run([RUM, "image", "pull", image], check=True, timeout=1800)
    listed = subprocess.run([RUM, "-o", "json", "image", "list"], check=True, capture_output=True, timeout=60)
    return next(Path(found["path"]) for found in json.loads(listed.stdout)["images"] if found["name"] == image)


@pytest.fixture(scope="module")
def publisher(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    """The URL of a mirror that has the image that is tested as debian-12, and the paths that it was asked for."""
    directory = tmp_path_factory.mktemp("mirror")
    (directory / FILE).symlink_to(image_file(image))
    with open(directory / FILE, "rb") as content:
        digest = hashlib.file_digest(content, "sha512").hexdigest()
    (directory / "SHA512SUMS").write_text(f"{digest}  {FILE}\n")
    asked: list[str] = []

    class Publisher(http.server.SimpleHTTPRequestHandler):
        """Serves the directory and notes what was asked for."""

        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args: object) -> None:
            """What was asked for is what the tests look at."""

    handler = functools.partial(Publisher, directory=str(directory))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    with contextlib.closing(server.socket):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
        server.shutdown()


@pytest.fixture(scope="module")
def projects(
    make_project: MakeProject, publisher: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Project, Project]:
    """Without and with a network card, with an image cache of their own: it is emptied in the end."""
    # It takes its own directories from whoever starts it.
    subprocess.run(["virsh", "-c", "qemu:///session", "version"], check=True, capture_output=True, timeout=60)
    env = {"RUM_IMAGE_MIRROR": publisher[0], "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    without, usual = (make_project(name, base="debian-12", env=env) for name in ("efi", "usual"))
    without.configure(SCRIPTS + WITHOUT_NETWORK)
    usual.configure(SCRIPTS)
    return without, usual


@pytest.fixture(scope="module")
def outcomes(projects: tuple[Project, Project]) -> tuple[Outcome, Outcome]:
    """Both first `rum up`, at the same time."""
    commands = [project.start("up") for project in projects]
    without, usual = (command.finish(within_s=120 * projects[0].patience) for command in commands)
    assert (without.exit, usual.exit) == (0, 0), without.stdout[-3000:] + usual.stdout[-3000:]
    return without, usual


def listed(project: Project) -> list[Json]:
    """The images of the cache."""
    (found,) = project.rum("-o", "json", "image", "list").events
    images: list[Json] = found["images"]
    return images


def test_two_at_once_download_once(
    projects: tuple[Project, Project], outcomes: tuple[Outcome, Outcome], publisher: tuple[str, list[str]]
) -> None:
    assert publisher[1].count(f"/{FILE}") == 1
    (image,) = listed(projects[0])
    assert image["name"] == "debian-12"
    assert Path(image["path"]).stat().st_mode & 0o777 == 0o444
    assert [user["config"] for user in image["used_by"]] == [str(projects[0].directory / "rum.toml")]


def test_an_image_in_use_is_not_removed(projects: tuple[Project, Project], outcomes: tuple[Outcome, Outcome]) -> None:
    refused = projects[0].rum("image", "remove", "debian-12")
    assert refused.exit == 3
    assert f"is in use by VM {projects[0].directory.name}" in refused.stderr
    assert projects[0].rum("image", "remove", "--unused").exit == 0
    assert len(listed(projects[0])) == 1


def test_boots_by_efi_without_a_network_card(
    projects: tuple[Project, Project], outcomes: tuple[Outcome, Outcome]
) -> None:
    assert outcomes[0].output("system") == "network: lo\n"
    assert len(outcomes[1].output("system").split()) == 3
    projects[0].guest("test -d /sys/firmware/efi")
    projects[1].guest("test ! -d /sys/firmware/efi")


def test_is_ready_as_fast_without_a_network_card(outcomes: tuple[Outcome, Outcome], measured: Measured) -> None:
    """Both booted at the same time, on the same host; a wait of 120 s for a network would show."""
    without, usual = outcomes
    measured(f"first rum up without a network card, by EFI: {without.seconds:.1f} s; with one: {usual.seconds:.1f} s")
    assert without.seconds < 1.5 * usual.seconds


def test_reboots_by_efi(projects: tuple[Project, Project], outcomes: tuple[Outcome, Outcome]) -> None:
    """`rum reboot`, with what rum.toml is by then; and `rum wait` meanwhile, for the new boot."""
    without = projects[0]
    before, memory_mb = without.boot_id(), memory_of(without)
    toml = without.directory / "rum.toml"
    toml.write_text(toml.read_text().replace("memory_mb = 768", "memory_mb = 800"))
    rebooting = without.start("reboot")
    rebooting.wait_for(lambda event: event.get("name") == "boot", within_s=60 * without.patience)
    waited = without.rum("-o", "json", "wait", "--timeout", str(120 * without.patience))
    rebooted = rebooting.finish(within_s=60 * without.patience)
    assert (waited.exit, rebooted.exit) == (0, 0), waited.stdout + rebooted.stdout
    assert without.boot_id() != before
    assert without.status()["memory_mb"] == 800
    assert 24 < memory_of(without) - memory_mb <= 32
    assert without.guest("test -d /sys/firmware/efi && wc -l < /var/tmp/boots").strip() == "2"


def memory_of(project: Project) -> int:
    """What the guest's kernel has, in MiB."""
    return int(project.guest("awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"))


def test_nothing_is_left_in_the_end(projects: tuple[Project, Project], outcomes: tuple[Outcome, Outcome]) -> None:
    nvram = Path.home() / ".config/libvirt/qemu/nvram" / f"rum-{projects[0].state_dir.name}_VARS.fd"
    assert nvram.is_file(), list(nvram.parent.glob("*"))
    for project in projects:
        assert project.rum("destroy", "-y").exit == 0
    assert not nvram.exists()
    assert projects[0].rum("image", "remove", "--unused").exit == 0
    assert listed(projects[0]) == []
