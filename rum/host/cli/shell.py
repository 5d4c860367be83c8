"""`rum shell`."""

from __future__ import annotations

import os

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options


@command(examples=["rum shell", "rum shell --user root", "rum shell < script.sh"])
@global_options
@click.option("--user", help="Whose shell (default: the account of rum.toml, `rum`).")
@click.pass_obj
def shell(options: Options, user: str | None) -> int:
    """Open a login shell in the guest.

    No network is needed. Its exit status is this command's, as with `rum exec`.
    """
    from rum.host import exec as story
    from rum.host.cli.exec import run_and_end
    from rum.host.shell import login

    vm = options.vm()
    return run_and_end(options, vm, login(user or vm.user()), tty=os.isatty(story.STDIN))
