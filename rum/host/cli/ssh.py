"""`rum ssh`, `rum ssh-config`, and the two commands that rum itself calls: `proxy` and `forward-ports`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.errors import GuestError
from rum.host.json_lines.answers import SshConfig


@command(
    context_settings={"allow_interspersed_args": False},
    examples=["rum ssh", "rum ssh uname -a", "rum ssh -- -L 8080:localhost:80"],
)
@global_options
@click.argument("arguments", metavar="[ARGS]...", nargs=-1, type=click.UNPROCESSED)
@click.pass_obj
def ssh(options: Options, arguments: tuple[str, ...]) -> int:
    """Log in over SSH.

    Or run a command, or forward a port: whatever ssh(1) takes. The guest needs no network for it.
    """
    from rum.host import ssh as story

    if options.output == "json":
        raise click.UsageError("what ssh says is not rum's; `rum exec` runs a command, and ends with JSON")
    program, command = story.ssh_command(options.vm(), options.renderer.emit, arguments)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os.execv(program, command)


@command("ssh-config", examples=["rum ssh-config > vm.conf && scp -F vm.conf notes.txt demo:"])
@global_options
@click.pass_obj
def ssh_config(options: Options) -> int:
    """Print the Host block for ssh -F."""
    from rum.host import ssh as story

    lines = story.config_block(options.vm())
    found: SshConfig = {"type": "ssh-config", "config": "\n".join(lines) + "\n"}
    options.renderer.show(found, lines)
    return 0


@command(hidden=True)
@global_options
@click.option("--known-hosts", is_flag=True, help="Bring the known host keys up to date first.")
@click.argument("port", type=click.IntRange(1, 65535))
@click.pass_obj
def proxy(options: Options, port: int, known_hosts: bool) -> int:
    """Connect standard input and output to a TCP port of the guest: what ssh's ProxyCommand is."""
    from rum.host import ssh as story

    try:
        story.proxy(options.vm(), options.renderer.emit, port, known_hosts=known_hosts)
    except ConnectionResetError:
        raise GuestError(f"the connection to the guest's port {port} was reset") from None
    return 0


@command("forward-ports", hidden=True)
@global_options
@click.option("--ports-file", required=True, type=click.Path(path_type=Path), help="What `rum up` knows it by.")
@click.pass_obj
def forward_ports(options: Options, ports_file: Path) -> int:
    """Forward the VM's ports until `rum down`: the process that `rum up` leaves behind."""
    import socket

    from rum.host.ports.forwarder import Forwarder, detach, limited
    from rum.host.ports.forwards import HANDED, take_over
    from rum.transfer.descriptors import allow_many

    detach(HANDED)
    allow_many()
    vm = options.vm()
    try:
        with socket.socket(fileno=HANDED) as channel:
            wanted, listeners = take_over(channel)
    except OSError:
        raise click.UsageError("forward-ports is what `rum up` starts; nobody else can") from None
    if ports_file != vm.paths.ports_file:
        raise click.UsageError(f"the VM's ports are in {vm.paths.ports_file}, not in {ports_file}")
    Forwarder(vm, wanted, listeners, limited(options.renderer.emit)).run()
    return 0
