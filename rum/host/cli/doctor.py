"""`rum doctor`."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.errors import ConfigError
from rum.host.show.render import Ending, Verbosity

if TYPE_CHECKING:
    from rum.host.doctor.finding import Host


@command(examples=["rum doctor", "rum -c demo/rum.toml doctor     # and what this VM needs"])
@global_options
@click.pass_obj
def doctor(options: Options) -> int:
    """Say what this host lacks, and how to get it.

    Every requirement, found or not, why it matters, and the command for this distribution. With a rum.toml also what
    this VM needs. Ends with 3 where `rum up` cannot work; with -q it shows problems only.
    """
    from rum.host.doctor.examination import conclusion, examine

    results = examine(subject(options))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for result in results:
        if result.finding.fix or options.verbosity is not Verbosity.QUIET:
            options.renderer.show(result.fields(), result.lines(width))
    outcome = conclusion(results)
    options.renderer.end(Ending.of_outcome(options.command, outcome))
    return outcome.exit


def subject(options: Options) -> Host:
    """This host, with the rum.toml that is there or was asked for; that there is none is no trouble."""
    from rum.host.config.identity import find_config
    from rum.host.doctor.finding import Finding, Host, Status

    if options.config is None:
        try:
            find_config()
        except ConfigError:
            return Host()
    try:
        return Host(options.load())
    except ConfigError as exc:
        text = "; ".join([str(exc), *exc.problems])
        return Host(trouble=Finding(Status.MISSING, text, exc.hint or "mend it; `rum config check` looks at it again"))
