"""The command line: it parses, calls a story, and hands its outcome to the renderer. Nothing happens here.

Stories are imported by the commands that tell them: `rum version` should not pay for libvirt.
"""

from __future__ import annotations

import platform
import sys
from typing import TYPE_CHECKING

import click

import rum
from rum.host.cli.config import config, init
from rum.host.cli.image import image
from rum.host.cli.options import Options, global_options
from rum.host.cli.ssh import forward_ports, proxy, ssh, ssh_config
from rum.host.events import Emit
from rum.host.outcome import Outcome, interrupted
from rum.host.show.render import Ending
from rum.protocol import Mode
from rum.protocol.limits import PROTOCOL_VERSION

if TYPE_CHECKING:
    from rum.host.vm.machine import Machine


@click.group(no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(rum.__version__, prog_name="rum", message="%(prog)s %(version)s")
@global_options
def cli() -> None:
    """Boot a stock cloud image from rum.toml and provision it through an agent in the guest."""


for command in (init, config, image, ssh, ssh_config, proxy, forward_ports):
    cli.add_command(command)


@cli.command()
@global_options
@click.pass_obj
def up(options: Options) -> int:
    """Create or start the VM and provision it."""
    from rum.host import up as story

    return options.tell(story.up)


@cli.command()
@global_options
@click.option("--system", "mode", flag_value=Mode.SYSTEM.value, help="Run the system scripts again.")
@click.option("--boot", "mode", flag_value=Mode.BOOT.value, help="Run the boot scripts again.")
@click.option("--all", "mode", flag_value=Mode.ALL.value, help="Run all scripts again.")
@click.pass_obj
def provision(options: Options, mode: str | None) -> int:
    """Run the scripts that have to run, in a VM that is up."""
    from rum.host import up as story

    return options.tell(lambda machine, emit: story.provision(machine, emit, Mode(mode or Mode.AUTO.value)))


@cli.command()
@global_options
@click.pass_obj
def down(options: Options) -> int:
    """Shut the VM down; turn it off after 30 s."""
    from rum.host import lifecycle

    return options.tell(lambda machine, _emit: lifecycle.down(machine))


@cli.command()
@global_options
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def destroy(options: Options, yes: bool) -> int:
    """Remove the VM and its disks."""
    from rum.host import lifecycle

    def story(machine: Machine, _emit: Emit) -> Outcome:
        if yes or confirmed(options, lifecycle.destroy_question(machine)):
            return lifecycle.destroy(machine)
        return interrupted(f"VM {machine.config.name} was not destroyed")

    return options.tell(story)


def confirmed(options: Options, question: str) -> bool:
    """What the user says. Raises UsageError where nobody can be asked."""
    if options.output == "json" or not sys.stdin.isatty():
        raise click.UsageError("destroy removes the VM's disks and nobody can be asked here; say so with -y")
    return click.confirm(question, err=True)


@cli.command()
@global_options
@click.pass_obj
def status(options: Options) -> int:
    """Show the state of the VM, its agent and its latest run."""
    from rum.host import lifecycle
    from rum.host.show.status_text import status_lines

    found = lifecycle.status(options.machine(), options.renderer.emit)
    options.renderer.show(found, status_lines(found))
    return 0


@cli.command()
@global_options
@click.option("-f", "--follow", is_flag=True, help="Stay until the run has ended.")
@click.option("--run", "run_id", metavar="ID", help="Which run (default: the latest).")
@click.option("--script", metavar="NAME", help="Only this script.")
@click.pass_obj
def logs(options: Options, follow: bool, run_id: str | None, script: str | None) -> int:
    """Show the output of a run."""
    from rum.host.runs import logs as story

    def tell(machine: Machine, emit: Emit) -> Outcome:
        return story.logs(machine, emit, run_id=run_id, script=script, follow=follow)

    return options.tell(tell)


@cli.command("exec", context_settings={"allow_interspersed_args": False})
@global_options
@click.option("--user", help="As whom (default: root).")
@click.option("--cwd", metavar="DIR", help="In which directory of the guest (default: /).")
@click.option("--env", metavar="K=V", multiple=True, help="An environment variable; may be given more than once.")
@click.option("--timeout", "timeout_s", metavar="S", type=click.FloatRange(min=0, min_open=True), help="In seconds.")
@click.option("-t", "--tty", is_flag=True, help="Give the command a terminal.")
@click.argument("argv", nargs=-1, required=True, type=click.UNPROCESSED)
@click.pass_obj
def exec_(
    options: Options,
    argv: tuple[str, ...],
    user: str | None,
    cwd: str | None,
    env: tuple[str, ...],
    timeout_s: float | None,
    tty: bool,
) -> int:
    """Run a command in the guest, with its streams and its exit status."""
    from rum.host import exec as story

    if tty and not sys.stdin.isatty():
        raise click.UsageError("-t needs a terminal, and standard input is none")
    request = story.ExecRequest(argv, user, cwd, dict(parse_variable(item) for item in env), timeout_s)
    exit_status = story.execute(
        options.machine(), options.renderer.emit, request, tty=tty, raw=options.output != "json"
    )
    if options.output == "json":
        options.renderer.end(Ending(options.command, "", exit_status))
    return exit_status


def parse_variable(item: str) -> tuple[str, str]:
    """Name and value of `K=V`. Raises UsageError."""
    name, equals, value = item.partition("=")
    if not (name and equals):
        raise click.UsageError(f"--env takes NAME=VALUE, not {item!r}")
    return name, value


@cli.command()
@global_options
@click.pass_obj
def version(options: Options) -> int:
    """Show the version."""
    found = {"version": rum.__version__, "protocol": PROTOCOL_VERSION, "python": platform.python_version()}
    line = f"rum {found['version']} (protocol {found['protocol']}, Python {found['python']})"
    options.renderer.show(found, [line])
    return 0
