"""The table of commands: each is loaded from its module when it is asked for, so that none pays for another."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

import rum
from rum.host.cli.options import global_options

COMMANDS: Mapping[str, str] = {
    "init": "rum.host.cli.config:init",
    "config": "rum.host.cli.config:config",
    "up": "rum.host.cli.vm:up",
    "provision": "rum.host.cli.vm:provision",
    "down": "rum.host.cli.vm:down",
    "destroy": "rum.host.cli.vm:destroy",
    "status": "rum.host.cli.status:status",
    "logs": "rum.host.cli.logs:logs",
    "exec": "rum.host.cli.exec:exec_",
    "ssh": "rum.host.cli.ssh:ssh",
    "ssh-config": "rum.host.cli.ssh:ssh_config",
    "image": "rum.host.cli.image:image",
    "version": "rum.host.cli.version:version",
    "proxy": "rum.host.cli.ssh:proxy",
    "forward-ports": "rum.host.cli.ssh:forward_ports",
}
"""Where each command lives, in the order in which `rum --help` shows them."""


class LazyGroup(click.Group):
    """A group of the commands in COMMANDS."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Their names."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, None for a name that there is not."""
        home = COMMANDS.get(cmd_name)
        if home is None:
            return None
        module, _, attribute = home.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=LazyGroup, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rum.__version__, prog_name="rum", message="%(prog)s %(version)s")
@global_options
def cli() -> None:
    """Boot a stock cloud image from rum.toml and provision it through an agent in the guest."""
