"""`rum list`."""

from __future__ import annotations

import click

from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options


@command(examples=["rum list", "rum -o json list | jq -r 'select(.config_exists | not) | .name'"])
@global_options
@click.pass_obj
def list_(options: Options) -> int:
    """Show all VMs of this user."""
    from rum.host.events import Notice
    from rum.host.show.list_text import list_lines
    from rum.host.vm_list import list_vms

    vms = list_vms()
    if options.output == "json":
        for vm in vms:
            options.renderer.show(vm, [])
        return 0
    for vm in vms:
        if vm["problem"]:
            options.renderer.emit(Notice(f"VM {vm['name']} ({vm['id']}): {vm['problem']}", warning=True))
    options.renderer.show({}, list_lines(vms))
    return 0
