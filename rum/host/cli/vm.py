"""The life of a VM: up, provision, down, destroy."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from rum.host.cli.complete import SCRIPTS
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.outcome import interrupted
from rum.protocol import Mode


@command(examples=["rum up", "rum -o json up | jq -r 'select(.type == \"output\").text'"])
@global_options
@click.pass_obj
def up(options: Options) -> int:
    """Create or start the VM and provision it."""
    from rum.host import up as story

    return options.end(story.up(options.machine(), options.renderer.emit, guest_figures=options.is_verbose))


@command(
    examples=[
        "rum provision                 # what has to run",
        "rum provision --system        # the system scripts again",
        "rum provision --from migrate  # migrate and what comes after it, again",
    ]
)
@global_options
@click.option("--system", is_flag=True, help="Run the system scripts again.")
@click.option("--boot", is_flag=True, help="Run the boot scripts again.")
@click.option("--all", is_flag=True, help="Run all scripts again.")
@click.option("--from", "start", metavar="NAME", shell_complete=SCRIPTS, help="Run this script and those after it.")
@click.pass_obj
def provision(options: Options, /, start: str | None, **modes: bool) -> int:
    """Run the scripts that have to run."""
    from rum.host import up as story

    wanted = [Mode(name) for name, given in modes.items() if given] or [Mode.AUTO]
    if len(wanted) > 1:
        raise click.UsageError("provision takes one of --system, --boot and --all, which is both")
    return options.end(story.provision(options.machine(), options.renderer.emit, wanted[0], start))


@command(examples=["rum down"])
@global_options
@click.pass_obj
def down(options: Options) -> int:
    """Shut the VM down; turn it off after 30 s."""
    from rum.host import lifecycle

    return options.end(lifecycle.down(options.vm()))


@command(examples=["rum reboot"])
@global_options
@click.pass_obj
def reboot(options: Options) -> int:
    """Shut the VM down and start it again.

    It starts as rum.toml has it now, and its boot scripts run; as `rum down` and `rum up`, but only where it can start.
    """
    from rum.host import up as story

    return options.end(story.reboot(options.machine(), options.renderer.emit, guest_figures=options.is_verbose))


@command(examples=["rum destroy     # asks first", "rum destroy -y"])
@global_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def destroy(options: Options, yes: bool) -> int:
    """Remove the VM and its disks."""
    from rum.host import lifecycle

    vm = options.vm()
    if yes or confirmed(options, lifecycle.what_goes(vm)):
        return options.end(lifecycle.destroy(vm))
    return options.end(interrupted(f"VM {vm.name} was not destroyed"))


def confirmed(options: Options, what_goes: Sequence[str]) -> bool:
    """What the user says, who is shown what goes. Raises UsageError where nobody can be asked."""
    if options.output == "json" or not sys.stdin.isatty():
        raise click.UsageError("destroy removes the VM's disks and nobody can be asked here; say so with -y")
    for line in what_goes:
        click.echo(line, err=True)
    return click.confirm("Remove it?", err=True)
