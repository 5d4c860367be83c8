"""`rum exec`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.cli.seconds import seconds
from rum.host.show.render import Ending

if TYPE_CHECKING:
    from rum.host.exec import ExecRequest
    from rum.host.vm.known import KnownVm


@command(
    "exec",
    context_settings={"allow_interspersed_args": False},
    examples=["rum exec -- uname -r", "rum exec --user rum --cwd /srv/app -- make test", "rum exec -t -- htop"],
)
@global_options
@click.option("--user", help="As whom (default: root).")
@click.option("--cwd", metavar="DIR", help="In which directory of the guest (default: /).")
@click.option("--env", metavar="K=V", multiple=True, help="An environment variable; may be given more than once.")
@click.option("--timeout", "timeout_s", metavar="S", type=seconds, help="In seconds.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    options: Options,
    argv: tuple[str, ...],
    user: str | None,
    cwd: str | None,
    env: tuple[str, ...],
    timeout_s: float | None,
    tty: bool,
) -> int:
    """Run a command in the guest.

    It has this command's streams, and its exit status is this command's: 128+n for signal n, 124 out of time, 125
    where rum itself failed.
    """
    from rum.host import exec as story

    if tty and not sys.stdin.isatty():
        raise click.UsageError("-t needs a terminal, and standard input is not one")
    request = story.ExecRequest(argv, user, cwd, dict(parse_variable(item) for item in env), timeout_s)
    return run_and_end(options, options.vm(), request, tty=tty)


def run_and_end(options: Options, vm: KnownVm, request: ExecRequest, *, tty: bool) -> int:
    """Run the command; its exit status is ours, and with `-o json` also told."""
    from rum.host import exec as story

    exit_status = story.execute(vm, options.renderer.emit, request, tty=tty, raw=options.output != "json")
    if options.output == "json":
        options.renderer.end(Ending(options.command, "", exit_status))
    return exit_status


def parse_variable(item: str) -> tuple[str, str]:
    """Name and value of `K=V`. Raises UsageError."""
    name, equals, value = item.partition("=")
    if not (name and equals):
        raise click.UsageError(f"--env takes NAME=VALUE, not {item!r}")
    return name, value
