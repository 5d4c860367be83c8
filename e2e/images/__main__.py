"""python -m e2e.images: build the images that end-to-end tests boot, or find those already built."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from e2e.images import build, mirror
from e2e.images.errors import ImageError
from e2e.images.host import MACHINE
from e2e.images.recipes import RECIPES
from rum.host import CATALOGUE

_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        return _COMMANDS[options.command](options)
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing half-built was kept.\n")
        return _EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for command, names, text in (
        ("build", RECIPES, "build an image unless the cache has it; the last line printed is its path"),
        ("mirror", RECIPES.keys() & CATALOGUE, "build it, and print a directory for RUM_IMAGE_MIRROR that has it"),
        ("reachable", CATALOGUE, "exit with 0 where the official image can be downloaded, else with 1"),
    ):
        with_name = commands.add_parser(command, help=text)
        with_name.add_argument("name", choices=sorted(names), metavar="NAME", help=", ".join(sorted(names)))
    commands.add_parser("list", help="images that can be built here, and where the official ones are")
    return parser


def _build(options: argparse.Namespace) -> int:
    sys.stdout.write(f"{build.image(RECIPES[options.name])}\n")
    return 0


def _mirror(options: argparse.Namespace) -> int:
    sys.stdout.write(f"{mirror.make(options.name, Path(build.image(RECIPES[options.name])))}\n")
    return 0


def _reachable(options: argparse.Namespace) -> int:
    return 0 if mirror.is_reachable(options.name) else 1


def _list(_options: argparse.Namespace) -> int:
    built = [f"  {name}" for name in sorted(RECIPES)]
    official = [f"  {name}  {CATALOGUE[name][MACHINE].url}" for name in sorted(CATALOGUE)]
    sys.stdout.write("\n".join(("Built here:", *built, "Official images that rum knows by name:", *official, "")))
    return 0


_COMMANDS = {"build": _build, "mirror": _mirror, "reachable": _reachable, "list": _list}


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
