"""A VM of an image that is downloaded: it boots by EFI, and has no network card."""

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

from e2e.conftest import MakeProject
from e2e.images.host import MACHINE
from e2e.project import RUM, Json, Outcome, Project, poll
from rum.host import CATALOGUE

FILE = CATALOGUE["debian-12"][MACHINE].file

CONFIG = """
[network]
mode = "none"

[advanced]
firmware = "efi"

[provision.system]
script = "echo network: $(ls /sys/class/net)"
after = "network-online"

[provision.boot]
script = "echo b >> /var/tmp/boots"
after = "network-online"
"""

WAIT_ONLINE_US = 100_000_000
"""Less than the 120 s that systemd-networkd-wait-online waits for a network."""


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
def project(
    make_project: MakeProject, publisher: tuple[str, list[str]], tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A VM by EFI, with an image cache of its own: it is emptied in the end."""
    # It takes its own directories from whoever starts it.
    subprocess.run(["virsh", "-c", "qemu:///session", "version"], check=True, capture_output=True, timeout=60)
    env = {"RUM_IMAGE_MIRROR": publisher[0], "XDG_CACHE_HOME": str(tmp_path_factory.mktemp("cache"))}
    made = make_project("efi", base="debian-12", env=env)
    made.configure(CONFIG)
    return made


@pytest.fixture(scope="module")
def outcomes(project: Project) -> tuple[Outcome, Outcome]:
    """The first `rum up`, and a `rum image pull` at the same time."""
    commands = [project.start("up"), project.start("image", "pull", "debian-12")]
    up, pull = (command.finish(within_s=120 * project.patience) for command in commands)
    assert (up.exit, pull.exit) == (0, 0), up.stdout[-3000:] + pull.stdout[-3000:]
    return up, pull


def listed(project: Project) -> list[Json]:
    """The images of the cache."""
    (found,) = project.rum("-o", "json", "image", "list").events
    images: list[Json] = found["images"]
    return images


def test_two_at_once_download_once(
    project: Project, outcomes: tuple[Outcome, Outcome], publisher: tuple[str, list[str]]
) -> None:
    assert publisher[1].count(f"/{FILE}") == 1
    (image,) = listed(project)
    assert image["name"] == "debian-12"
    assert Path(image["path"]).stat().st_mode & 0o777 == 0o444
    assert [user["config"] for user in image["used_by"]] == [str(project.directory / "rum.toml")]


def test_an_image_in_use_is_not_removed(project: Project, outcomes: object) -> None:
    refused = project.rum("image", "remove", "debian-12")
    assert refused.exit == 3
    assert f"is in use by VM {project.directory.name}" in refused.stderr
    assert project.rum("image", "remove", "--unused").exit == 0
    assert len(listed(project)) == 1


def test_boots_by_efi_without_a_network_card(project: Project, outcomes: tuple[Outcome, Outcome]) -> None:
    assert outcomes[0].output("system") == "network: lo\n"
    project.guest("test -d /sys/firmware/efi")


def test_nothing_waits_for_a_network_that_cannot_come(project: Project, outcomes: tuple[Outcome, Outcome]) -> None:
    for _ in poll(60 * project.patience, "the end of the guest's boot"):
        if project.guest("systemctl is-system-running || true").strip() in ("running", "degraded"):
            break
    for unit in ("systemd-networkd-wait-online.service", "NetworkManager-wait-online.service"):
        ended = project.guest(f"systemctl show -P ActiveExitTimestampMonotonic {unit}").strip()
        assert ended in ("", "0") or int(ended) < WAIT_ONLINE_US, f"{unit} ended {ended} us after the boot"
    assert [event for event in outcomes[0].of_type("waiting") if event["for"] == "network-online"] == []


def test_reboots_by_efi(project: Project, outcomes: object) -> None:
    """`rum reboot`, with what rum.toml is by then; and `rum wait` meanwhile, for the new boot."""
    before, memory_mb = project.boot_id(), memory_of(project)
    toml = project.directory / "rum.toml"
    toml.write_text(toml.read_text().replace("memory_mb = 768", "memory_mb = 800"))
    rebooting = project.start("reboot")
    rebooting.wait_for(lambda event: event.get("name") == "boot", within_s=60 * project.patience)
    waited = project.rum("-o", "json", "wait", "--timeout", str(120 * project.patience))
    rebooted = rebooting.finish(within_s=60 * project.patience)
    assert (waited.exit, rebooted.exit) == (0, 0), waited.stdout + rebooted.stdout
    assert project.boot_id() != before
    assert project.status()["memory_mb"] == 800
    assert 24 < memory_of(project) - memory_mb <= 32
    assert project.guest("test -d /sys/firmware/efi && wc -l < /var/tmp/boots").strip() == "2"


def memory_of(project: Project) -> int:
    """What the guest's kernel has, in MiB."""
    return int(project.guest("awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo"))


def test_nothing_is_left_in_the_end(project: Project, outcomes: object) -> None:
    nvram = Path.home() / ".config/libvirt/qemu/nvram" / f"rum-{project.state_dir.name}_VARS.fd"
    assert nvram.is_file(), list(nvram.parent.glob("*"))
    assert project.rum("destroy", "-y").exit == 0
    assert not nvram.exists()
    assert project.rum("image", "remove", "--unused").exit == 0
    assert listed(project) == []
