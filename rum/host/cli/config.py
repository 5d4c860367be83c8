"""The commands about rum.toml itself: `rum config` and `rum init`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import click

from rum.host.cli.help import command, group
from rum.host.cli.options import Options, global_options
from rum.host.show.render import Ending


@group(examples=["rum config check"])
@global_options
def config() -> None:
    """Check rum.toml.

    Or show what may be in it, as a JSON Schema.
    """


@command(parent=config, examples=["rum config check"])
@global_options
@click.pass_obj
def check(options: Options) -> int:
    """Say whether rum.toml is right, or everything that is wrong with it."""
    from rum.host.config.check import sentence, summary

    found = options.load()
    options.renderer.show(summary(found), [sentence(found)])
    return 0


@command(parent=config, examples=["rum config schema > rum.schema.json"])
@global_options
@click.pass_obj
def schema(options: Options) -> int:
    """Show the JSON Schema of rum.toml, for editors."""
    from rum.host.config.schema import json_schema

    found = json_schema()
    options.renderer.show(found, json.dumps(found, indent=2).splitlines())
    return 0


@command(examples=["rum init", "rum -c demo/rum.toml init"])
@global_options
@click.pass_obj
def init(options: Options) -> int:
    """Write a first rum.toml."""
    from rum.host.config import init as story

    path = Path(options.config) if options.config else story.default_path()
    command = f"rum -c {shlex.quote(options.config)} up" if options.config else "rum up"
    outcome = story.init(path, command)
    options.renderer.end(Ending.of_outcome(options.command, outcome))
    return outcome.exit
