"""python -m e2e.nested: run end-to-end tests under KVM and the kernel's vhost-vsock.

Right here where this host has both, else in an emulated machine that has them. What is not listed below goes to pytest.
"""

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from e2e import artifacts
from e2e.images import build, cache
from e2e.images.errors import ImageError
from e2e.images.recipes import RECIPES
from e2e.nested import work_disk
from e2e.nested.errors import NestedError
from e2e.nested.machine import Machine
from e2e.nested.recipe import KVM_RUNNER
from rum.host import Accelerator, HostError, choose_accelerator, choose_transport

CHECKOUT = Path(__file__).parents[2]
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is pytest's, 3 where the tests could not be run to their end."""
    options, pytest = _parser().parse_known_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        lacking = lacks()
        if not lacking and not options.emulate:
            os.execv(sys.executable, [sys.executable, *_right_here(options.results, pytest)])
        _tell(f"In an emulated machine, because {'; '.join(lacking) or 'you ask for it'}.")
        return _in_machine(options, pytest)
    except (NestedError, ImageError) as error:
        _tell(str(error))
        return error.exit_code
    except OSError as error:
        _tell(f"The machine cannot be prepared: {error}.")
        return NestedError.exit_code
    except KeyboardInterrupt:
        _tell("Interrupted; the machine was switched off.")
        return EXIT_INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m e2e.nested", description=__doc__, allow_abbrev=False)
    parser.add_argument("--emulate", action="store_true", help="in an emulated machine also where this host has both")
    parser.add_argument("--within", type=float, default=60, metavar="MINUTES", help="how long it may take (60)")
    parser.add_argument(
        "--processors", type=int, default=Machine.processors, metavar="N", help="of the emulated machine (%(default)s)"
    )
    parser.add_argument(
        "--memory", type=int, default=Machine.memory_mb, metavar="MIB", help="of the emulated machine (%(default)s)"
    )
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(os.environ.get(artifacts.VARIABLE) or CHECKOUT / "build"),
        metavar="DIRECTORY",
        help=f"for e2e_nested/: the machine's console, junit.xml, QEMU's logs (${artifacts.VARIABLE}, or build)",
    )
    parser.add_argument(
        "--with-image",
        action="append",
        default=[],
        choices=sorted(RECIPES),
        metavar="NAME",
        help="take this built image along beside debian-12; may be given again",
    )
    return parser


def lacks() -> list[str]:
    """Why the tests cannot run right here: a clause for KVM, one for vhost-vsock, none where both are usable."""
    accelerator = choose_accelerator("auto")
    clauses = [] if accelerator.accelerator is Accelerator.KVM else [accelerator.reason]
    try:
        choose_transport("vhost-vsock")
    except HostError as error:
        clauses.append(str(error))
    return clauses


def _right_here(results: Path, pytest: Sequence[str]) -> list[str]:
    """Arguments of Python."""
    report = results / "e2e_nested" / "junit.xml"
    return ["-m", "pytest", "--require", "kvm,vhost-vsock", f"--junit-xml={report}", *pytest]


def _in_machine(options: argparse.Namespace, pytest: Sequence[str]) -> int:
    image = build.image(KVM_RUNNER)
    images = [build.image(RECIPES[name]) for name in ("debian-12", *options.with_image)]
    results = options.results.absolute() / "e2e_nested"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir(parents=True)
    machine = Machine(results, options.processors, options.memory)
    with tempfile.TemporaryDirectory(prefix="nested-", dir=cache.directory()) as name:
        disk = Path(name) / "work.raw"
        work_disk.make(disk, CHECKOUT, images, pytest)
        return machine.run(machine.command(image, disk), options.within * 60)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
