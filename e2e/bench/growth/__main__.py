"""python -m e2e.bench.growth: how costs grow with the size of what rum does.

The curves are kept in docs/growth.json, and docs/growth.md and its pictures are made of them.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from e2e.bench import environment
from e2e.bench.__main__ import EXIT_HOST, EXIT_INTERRUPTED, image_of, leave
from e2e.bench.context import Bench
from e2e.bench.growth import guest, page, plot
from e2e.bench.growth.curve import keep, read, table
from e2e.bench.run import FAILURES, reason
from rum.host import HostError

IMAGE = "debian-12"

EXIT_STEEP = 1


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 0 if everything that is kept grows linearly or better."""
    options = parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        if not options.draw:
            measure(options)
        return 0 if options.quick else draw()
    except FAILURES as error:
        sys.stderr.write(f"growth: {reason(error)}\n")
        return EXIT_HOST
    except KeyboardInterrupt:
        sys.stderr.write("growth: interrupted; what was measured before is kept\n")
        return EXIT_INTERRUPTED


def parser() -> argparse.ArgumentParser:
    """The command line's."""
    made = argparse.ArgumentParser(prog="python -m e2e.bench.growth", description=__doc__, allow_abbrev=False)
    names = list(guest.SUBJECTS)
    made.add_argument("--draw", action="store_true", help="measure nothing, draw what is kept")
    made.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    made.add_argument("--quick", action="store_true", help="the smallest sizes alone, printed and not kept")
    made.add_argument("--image", default=IMAGE, metavar="NAME|PATH|URL", help="what is booted (%(default)s)")
    return made


def measure(options: argparse.Namespace) -> None:
    """Measure on one guest, and keep each subject as soon as it is measured. Raises any of FAILURES."""
    if os.geteuid() == 0:
        raise HostError("the benchmark runs as an ordinary user: root has no qemu:///session")
    bench = Bench(image_of(options.image), environment.patience(), quick=options.quick)
    try:
        for subject in guest.measure(bench, options.only or list(guest.SUBJECTS)):
            sys.stdout.write(f"{table(subject)}\n")
            if not options.quick:
                keep(page.CURVES, subject)
    finally:
        bench.close()


def draw() -> int:
    """Make the page anew; the status tells whether something grows too fast. Raises OSError, ValueError."""
    subjects = read(page.CURVES)
    for subject in subjects.values():
        plot.draw(subject, page.DOCS / page.picture(subject))
    page.PAGE.write_text(page.text(subjects), encoding="utf-8")
    steep = [
        f"{name}: {curve.label}" for name, kept in subjects.items() for curve in kept.curves if not curve.is_linear
    ]
    for name in steep:
        sys.stderr.write(f"growth: {name} grows faster than its size\n")
    return EXIT_STEEP if steep else 0


if __name__ == "__main__":
    sys.exit(main())
