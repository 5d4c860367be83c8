"""Makes docs/captures: `python -m e2e.captures` boots a VM, types what a user would, and keeps what the screen shows.

Each capture is a text and an SVG of it. The layout is always the same; the times are as they were.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path

from e2e.conftest import build_image
from e2e.images import mirror
from e2e.images.recipes import RECIPES
from e2e.picture import svg
from e2e.project import RUM
from e2e.screen import Screen

CAPTURES = Path(__file__).parents[1] / "docs/captures"
COLUMNS, ROWS = 80, 40
BOOT_S = 600.0

RUM_TOML = """\
[image]
base = "debian-12"

[resources]
memory_mb = 768
cpus = 1

[[ports]]
host = 8080
guest = 80

[provision.system]
file = "install.sh"

[[provision.script]]
name = "migrate"
order = 150
run_on = "boot"
file = "migrate.sh"

[provision.boot]
script = "echo serving on port 80"
"""

INSTALL = """\
for package in postgresql-common postgresql-client postgresql-15 libjs-jquery nginx-common nginx; do
    echo "Setting up $package ..."
    sleep 1
done
echo "nginx: no site is enabled" >&2
sleep 2
"""

MIGRATE = """\
echo "connecting to the database"
for version in 5 6 7; do echo "migrating to version $version"; sleep 0.3; done
"""

BROKEN = (
    MIGRATE
    + """\
echo 'ERROR:  column "name" of relation "users" does not exist' >&2
exit 7
"""
)

FIXED = (
    MIGRATE
    + """\
echo "migrating to version 8"
"""
)


class Studio:
    """A project in a directory of its own, and a terminal for each command."""

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        self._directory = directory
        own = {f"XDG_{kind.upper()}_HOME": str(directory.parent / kind) for kind in ("state", "cache")}
        self._environment = {**environment, **own}
        for name, text in (("rum.toml", RUM_TOML), ("install.sh", INSTALL), ("migrate.sh", MIGRATE)):
            self.write(name, text)

    def write(self, name: str, text: str) -> None:
        """A file of the project."""
        (self._directory / name).write_text(text, encoding="utf-8")

    def type(self, command: str) -> Screen:
        """Begin a command of `rum`."""
        arguments = [str(RUM), *command.split()]
        return Screen(arguments, self._environment, self._directory, columns=COLUMNS, rows=ROWS, patience_s=BOOT_S)


def capture(name: str, command: str, screen: Screen) -> None:
    """Keep what is to be seen now."""
    lines = [f"$ rum {command}", *screen.rows]
    (CAPTURES / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (CAPTURES / f"{name}.svg").write_text(svg(name, f"rum {command}", screen.buffer, COLUMNS), encoding="utf-8")


def finished(studio: Studio, name: str, command: str) -> None:
    """Keep what is to be seen when the command has ended."""
    with studio.type(command) as screen:
        screen.finish()
        capture(name, command, screen)


def take_all(studio: Studio) -> None:
    """Every capture, in the order in which one VM comes to them."""
    with studio.type("up") as screen:
        screen.until(lambda: "systemd" in "\n".join(screen.rows[-5:]), "the guest's systemd at work")
        capture("boot", "up", screen)
        screen.until(lambda: "nginx-common" in screen.text, "a script at work")
        capture("up", "up", screen)
        screen.finish()
        capture("success", "up", screen)
    studio.write("migrate.sh", BROKEN)
    finished(studio, "failure", "up")
    studio.write("migrate.sh", FIXED)
    finished(studio, "retry", "up")
    with studio.type("provision --all") as screen:
        screen.until_shown("Setting up postgresql-client")
        screen.child.sendintr()
        screen.finish()
        capture("cancel", "provision --all", screen)
    finished(studio, "doctor", "doctor")
    finished(studio, "status", "status")


def mirror_of(image: str) -> dict[str, str]:
    """Where the image is taken from: one that can be built here is not downloaded."""
    if image not in RECIPES:
        return {}
    return {"RUM_IMAGE_MIRROR": str(mirror.make(image, Path(build_image(image))))}


def main() -> None:
    """Make them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="debian-12", help="a name of the catalogue (default: debian-12)")
    image = parser.parse_args().image
    CAPTURES.mkdir(parents=True, exist_ok=True)
    # Paths are on some pictures: the same for everybody.
    root = Path("/tmp/rum-captures")
    shutil.rmtree(root, ignore_errors=True)
    (root / "demo").mkdir(parents=True)
    studio = Studio(root / "demo", mirror_of(image))
    try:
        take_all(studio)
    finally:
        with studio.type("destroy -y") as screen:
            screen.finish()
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
