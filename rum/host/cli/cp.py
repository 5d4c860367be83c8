"""`rum cp`."""

from __future__ import annotations

from dataclasses import replace

import click

from rum.host.cli.complete import files
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.show.render import Verbosity


@command(
    "cp",
    examples=[
        "rum cp app.conf :/etc/app.conf",
        "rum cp :/var/log/syslog - | less",
        "rum cp --user rum src/. :work",
    ],
)
@global_options
@click.option("--user", help="Whose rights are used, and whose the copies are (default: root).")
@click.argument("paths", nargs=-1, required=True, type=click.UNPROCESSED, metavar="SRC... DST", shell_complete=files)
@click.pass_obj
def cp(options: Options, paths: tuple[str, ...], user: str | None) -> int:
    """Copy files and directories to or from the guest.

    Paths in the guest begin with a colon; without a slash after it they are in the user's home. - is standard input or
    output. A file takes its place once all of it has arrived and been verified.
    """
    from rum.host.cp.request import parse_request
    from rum.host.cp.story import copy

    if len(paths) < 2:
        raise click.UsageError("cp takes a source and a destination")
    request = parse_request(paths, user)
    if request.to_stdout and options.output == "json":
        raise click.UsageError("-o json needs standard output, and so does -")
    options.streams = request.to_stdout
    outcome = copy(options.vm(), options.renderer.emit, request)
    # As with cp(1), there is nothing to be said about what went well to somebody who wants to hear little.
    quiet = options.verbosity is Verbosity.QUIET
    return options.end(replace(outcome, text="") if quiet else outcome)
