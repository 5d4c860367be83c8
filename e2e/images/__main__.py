"""python -m e2e.images: build the images that end-to-end tests boot, or find those already built."""

import argparse
import signal
import sys
from collections.abc import Sequence
from types import FrameType

from e2e.images import build
from e2e.images.errors import ImageError
from e2e.images.recipes import RECIPES
from rum.host.catalogue import CATALOGUE

_EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    try:
        if options.command == "list":
            _list()
        else:
            sys.stdout.write(f"{build.image(RECIPES[options.name])}\n")
    except ImageError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted; nothing half-built was kept.\n")
        return _EXIT_INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.images", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build_command = commands.add_parser(
        "build", help="build an image unless the cache has it; the last line printed is its path"
    )
    build_command.add_argument("name", choices=sorted(RECIPES), metavar="NAME", help=", ".join(sorted(RECIPES)))
    commands.add_parser("list", help="images that can be built here, and where the official ones are")
    return parser


def _list() -> None:
    built = [f"  {name}" for name in sorted(RECIPES)]
    official = [f"  {name}  {CATALOGUE[name].url}" for name in sorted(CATALOGUE)]
    sys.stdout.write("\n".join(("Built here:", *built, "Official images that rum knows by name:", *official, "")))


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
