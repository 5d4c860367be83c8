"""`rum version`, where it is asked for more than its one line (rum.host.__main__)."""

from __future__ import annotations

import platform

import click

import rum
from rum.host.__main__ import version_line
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.json_lines import SCHEMA_VERSION
from rum.host.json_lines.answers import Version
from rum.protocol.limits import PROTOCOL_VERSION


@command(examples=["rum version"])
@global_options
@click.pass_obj
def version(options: Options) -> int:
    """Show the version."""
    found: Version = {
        "type": "version",
        "version": rum.__version__,
        "protocol": PROTOCOL_VERSION,
        "schema": SCHEMA_VERSION,
        "python": platform.python_version(),
    }
    options.renderer.show(found, [version_line()])
    return 0
