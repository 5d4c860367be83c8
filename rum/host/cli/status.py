"""`rum status`."""

from __future__ import annotations

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options


@command(examples=["rum status", "rum -o json status | jq -r .state"])
@global_options
@click.pass_obj
def status(options: Options) -> int:
    """Show the VM, its agent and its latest run."""
    from rum.host import status as story
    from rum.host.events import Notice
    from rum.host.show.status_text import status_lines

    found = story.status(options.vm())
    if options.output != "json":
        for text in found["warnings"]:
            options.renderer.emit(Notice(text, warning=True))
    options.renderer.show(found, status_lines(found))
    return 0
