"""`--help` that fits a screen: what is a command's own, the options of every command in one line, and examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from rum.host.cli.options import is_global

GLOBAL_LINE = "Also: -c FILE, -o auto|plain|json, -v, -q, -h (see `rum --help`)"
"""What every command takes (rum.host.cli.options)."""


class Command(click.Command):
    """Shows its help in little space.

    `examples`: command lines as they are typed, without a prompt, each with a `# comment` where it needs one.
    """

    examples: tuple[str, ...] = ()

    def own_options(self, context: click.Context) -> list[tuple[str, str]]:
        """The options of this command alone, each with its help."""
        own = [
            parameter
            for parameter in self.get_params(context)
            if isinstance(parameter, click.Option) and not is_global(parameter) and "--help" not in parameter.opts
        ]
        return [record for parameter in own if (record := parameter.get_help_record(context))]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Its own options, then those of every command in one line."""
        if options := self.own_options(ctx):
            with formatter.section("Options"):
                formatter.write_dl(options)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(GLOBAL_LINE)

    def format_epilog(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples."""
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class Group(Command, click.Group):
    """A group of commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. Raises UsageError with what may have been meant."""
        if not (args[0] in self.list_commands(ctx) or args[0].startswith("-") or ctx.resilient_parsing):
            from rum.host.config.place import suggestion

            raise click.UsageError(f"there is no command {args[0]!r}{suggestion(args[0], offered(self, ctx))}", ctx)
        return super().resolve_command(ctx, args)


def offered(group: click.Group, context: click.Context) -> list[str]:
    """The names of a group's commands that are for people."""
    commands = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [name for name, command in commands if command and not command.hidden]


def command(
    name: str | None = None,
    *,
    examples: Sequence[str] = (),
    hidden: bool = False,
    parent: click.Group | None = None,
    context_settings: Mapping[str, object] | None = None,
) -> Callable[[Callable[..., Any]], Command]:
    """What click.command does, with examples; `parent`: the group that it becomes a command of."""

    def decorate(function: Callable[..., Any]) -> Command:
        settings = dict(context_settings or {})
        made = click.command(name, cls=Command, hidden=hidden, context_settings=settings)(function)
        made.examples = tuple(examples)
        if parent:
            parent.add_command(made)
        return made

    return decorate


def group(name: str | None = None, *, examples: Sequence[str] = ()) -> Callable[[Callable[..., Any]], Group]:
    """What click.group does, with examples."""

    def decorate(function: Callable[..., Any]) -> Group:
        made = click.group(name, cls=Group, no_args_is_help=False)(function)
        made.examples = tuple(examples)
        return made

    return decorate
