"""`rum console`."""

from __future__ import annotations

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options


@command(examples=["rum console"])
@global_options
@click.pass_obj
def console(options: Options) -> int:
    """Attach to the serial console.

    Ctrl+] leaves; the VM goes on. Without a terminal on standard input, bytes are passed on until that ends.
    """
    from rum.host import serial_console as story

    if options.output == "json":
        raise click.UsageError("what a serial console says is bytes, which JSON cannot hold")
    return options.end(story.attach(options.vm()))
