"""The table of commands: each is loaded from its module when it is asked for, so that none pays for another."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

import rum
from rum.host.cli.help import Group, offered
from rum.host.cli.options import Options, global_options

COMMANDS: Mapping[str, str] = {
    "init": "rum.host.cli.config:init",
    "config": "rum.host.cli.config:config",
    "up": "rum.host.cli.vm:up",
    "provision": "rum.host.cli.vm:provision",
    "wait": "rum.host.cli.wait:wait",
    "down": "rum.host.cli.vm:down",
    "reboot": "rum.host.cli.vm:reboot",
    "destroy": "rum.host.cli.vm:destroy",
    "status": "rum.host.cli.status:status",
    "list": "rum.host.cli.list:list_",
    "logs": "rum.host.cli.logs:logs",
    "exec": "rum.host.cli.exec:exec_",
    "shell": "rum.host.cli.shell:shell",
    "console": "rum.host.cli.console:console",
    "cp": "rum.host.cli.cp:cp",
    "ssh": "rum.host.cli.ssh:ssh",
    "ssh-config": "rum.host.cli.ssh:ssh_config",
    "image": "rum.host.cli.image:image",
    "completion": "rum.host.cli.completion:completion",
    "doctor": "rum.host.cli.doctor:doctor",
    "help": "rum.host.cli.help_command:help_",
    "version": "rum.host.cli.version:version",
    "proxy": "rum.host.cli.ssh:proxy",
    "forward-ports": "rum.host.cli.ssh:forward_ports",
}
"""Where each command lives."""

SECTIONS: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "run": (("up",), ("provision",), ("wait",), ("down",), ("reboot",), ("destroy",)),
    "look": (("status",), ("list",), ("logs",), ("console",)),
    "work in it": (("exec",), ("shell",), ("cp",), ("ssh", "ssh-config")),
    "set up": (("init", "config"), ("image",), ("doctor",), ("completion", "version")),
}
"""The lines of `rum --help`: what belongs together, some of it two to a line, so that all of it fits a screen."""

EXAMPLE = "rum init && rum up && rum ssh"
OPTIONS_LINES = (
    "Options: -c FILE the rum.toml (else: here or in a parent)  -v  more  -q  less\n"
    "  -o auto|plain|json  how it is shown   --version   -h  help, also for a COMMAND"
)


class LazyGroup(Group):
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

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """A line for each command, by section; without blank lines, so that it fits a screen."""
        formatter.write(f"Usage: {ctx.command_path} [OPTIONS] COMMAND [ARGS]...    Example: {EXAMPLE}\n")
        formatter.write(f"{self.help}\n")
        shown = set(offered(self, ctx))
        for section, rows in SECTIONS.items():
            heading = section
            for row in rows:
                if names := [name for name in row if name in shown]:
                    formatter.write(f"{heading:<11} {', '.join(names):<19} {self.row_text(ctx, names)}\n")
                    heading = ""
        formatter.write(f"{OPTIONS_LINES}\n")

    def row_text(self, ctx: click.Context, names: list[str]) -> str:
        """What the commands of a line do."""
        texts = [short_help(self, ctx, name) for name in names]
        return "; ".join([texts[0], *(text[0].lower() + text[1:] for text in texts[1:])])


def short_help(group: click.Group, context: click.Context, name: str) -> str:
    """What a command does, in half a line."""
    command = group.get_command(context, name)
    return command.get_short_help_str(80).removesuffix(".") if command else ""


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rum.__version__, prog_name="rum", message="%(prog)s %(version)s")
@global_options
@click.pass_context
def cli(context: click.Context) -> None:
    """Boot a stock cloud image from rum.toml and provision it through its agent."""
    if context.invoked_subcommand is None:
        if context.obj != Options():
            raise click.UsageError("missing command", context)
        click.echo(context.get_help())
