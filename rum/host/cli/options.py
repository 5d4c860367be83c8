"""The options that every command takes, and what is done with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rum.host.config.identity import find_config
from rum.host.outcome import Outcome
from rum.host.show.capability import can_draw
from rum.host.show.render import Ending, PlainRenderer, QuietErrors, Renderer, Verbosity

if TYPE_CHECKING:
    from rum.host.config.load import Config
    from rum.host.vm.known import KnownVm
    from rum.host.vm.machine import Machine

_F = TypeVar("_F", bound=Callable[..., Any])

STREAMING = {"console", "exec", "shell", "proxy", "ssh"}
"""Commands whose standard output is not rum's own."""

WORKING = {"up", "provision", "down", "reboot", "destroy", "wait", "cp", "image pull"}
"""Commands that take their time: on a terminal it is shown as it passes."""

PROSE = {"doctor", "status"}
"""Commands that show sentences; what others show is copied from the terminal, and must not be broken."""

OUTPUTS = ("auto", "plain", "json")


@dataclass
class Options:
    """The global options, wherever on the command line they stood."""

    config: str | None = None
    output: str = "auto"
    verbosity: Verbosity = Verbosity.NORMAL
    command: str = ""
    streams: bool = False
    """Whether this command's standard output is not rum's own, although that of its like is."""

    @cached_property
    def renderer(self) -> Renderer:
        """What shows this command."""
        if self.output == "json":
            from rum.host.show.render_json import JsonRenderer

            return JsonRenderer(sys.stdout, sys.stderr, self.verbosity)
        if self.streams or self.command in STREAMING:
            return QuietErrors(sys.stderr, self.verbosity)
        if self._is_drawn():
            from rum.host.show.render_terminal import TerminalRenderer

            return TerminalRenderer(sys.stdout, sys.stderr, self.verbosity)
        timed, prose = self.command in WORKING, self.command in PROSE
        return PlainRenderer(sys.stdout, sys.stderr, self.verbosity, timed=timed, prose=prose)

    @property
    def is_verbose(self) -> bool:
        """Whether -v was given."""
        return self.verbosity is Verbosity.VERBOSE

    def config_path(self) -> Path:
        """The rum.toml. Raises ConfigError where none is named and none is found."""
        return Path(self.config) if self.config else find_config()

    def close(self) -> None:
        """Leave the terminal as it was, however the command ends."""
        if "renderer" in self.__dict__:
            self.renderer.close()

    def _is_drawn(self) -> bool:
        wanted = self.output == "auto" and self.verbosity is not Verbosity.QUIET and self.command in WORKING
        return wanted and can_draw(sys.stdout)

    def load(self) -> Config:
        """The configuration. Raises ConfigError."""
        from rum.host.config.load import load_config

        return load_config(self.config_path())

    def machine(self) -> Machine:
        """The VM with its configuration, which is checked. Raises ConfigError."""
        from rum.host.vm.machine import Machine

        return Machine(self.load(), self.renderer.emit)

    def vm(self) -> KnownVm:
        """The VM as it is, whatever its rum.toml says now. Raises ConfigError where there is neither."""
        from rum.host.vm.known import find_vm

        return find_vm(self.config_path(), self.renderer.emit)

    def end(self, outcome: Outcome) -> int:
        """Show how the command ended; its exit status."""
        self.renderer.end(Ending.of_outcome(self.command, outcome))
        return outcome.exit


def remember(context: click.Context, parameter: click.Parameter, value: object) -> None:
    """Keep a global option that was given, here or before the subcommand."""
    options = context.find_root().obj
    options.command = context.command_path.partition(" ")[2]
    if value is None or value is False:
        return
    if parameter.name in ("verbose", "quiet"):
        options.verbosity = Verbosity.VERBOSE if parameter.name == "verbose" else Verbosity.QUIET
    else:
        setattr(options, str(parameter.name), value)


def is_global(parameter: click.Parameter) -> bool:
    """Whether an option is one that every command takes."""
    return parameter.callback is remember


def global_options(command: _F) -> _F:
    """The options that every command takes, as the group does."""
    given: dict[str, Any] = {"callback": remember, "expose_value": False, "is_eager": True}
    where = "The rum.toml (default: here or in a parent)."
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Show only the outcome.", **given),
        click.option("-v", "--verbose", is_flag=True, help="Show more, the guest's console included.", **given),
        click.option("-o", "--output", type=click.Choice(OUTPUTS), help="How to show it (default: auto).", **given),
        click.option("-c", "--config", metavar="PATH", type=click.Path(), help=where, **given),
    ):
        command = option(command)
    return command
