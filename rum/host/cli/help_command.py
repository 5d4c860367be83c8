"""`rum help`: what `--help` shows, for those who type it the other way round."""

from __future__ import annotations

import click

from rum.host.cli.help import command
from rum.host.cli.options import global_options


@command("help", hidden=True, examples=["rum help exec"])
@global_options
@click.argument("names", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(context: click.Context, names: tuple[str, ...]) -> int:
    """Show the help of a command."""
    root = context.find_root()
    found: click.Context = root
    for name in names:
        if not isinstance(found.command, click.Group):
            raise click.UsageError(f"{found.command_path} has no commands of its own", context)
        _, child, _ = found.command.resolve_command(found, [name])
        assert child is not None
        found = click.Context(child, info_name=name, parent=found)
    click.echo(found.get_help())
    return 0
