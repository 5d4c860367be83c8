"""`rum logs`."""

from __future__ import annotations

import itertools
import select
from collections.abc import Callable

import click

from rum.host.cli.complete import RUNS, SCRIPTS
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.events import Emit
from rum.host.outcome import Outcome

ALONE = {
    "--list": {"--follow", "--run", "--script", "--failed", "--console", "--timestamps"},
    "--console": {"--run", "--script", "--failed", "--timestamps"},
    "--failed": {"--follow", "--script"},
}
"""What makes no sense beside an option."""


@command(
    examples=[
        "rum logs --follow                # this run and every one after it",
        "rum logs --failed                # what the failed script has printed",
        "rum logs --run 000002 --script migrate",
    ]
)
@global_options
@click.option("-f", "--follow", is_flag=True, help="Stay for every run to come; with --run until that has ended.")
@click.option("--run", "run_id", metavar="ID", shell_complete=RUNS, help="Which run, by (the start of) its id.")
@click.option("--script", metavar="NAME", shell_complete=SCRIPTS, help="Only this script.")
@click.option("--failed", is_flag=True, help="Only the failed script of the latest run that failed.")
@click.option("--timestamps", is_flag=True, help="Begin each line of output with its time, in UTC.")
@click.option("--list", "listed", is_flag=True, help="List the runs instead.")
@click.option("--console", is_flag=True, help="Show the serial console since the VM was started instead.")
@click.pass_context
def logs(context: click.Context, /, **given: object) -> int:
    """Show what scripts have printed, of any run."""
    refuse_what_does_not_go_together(context)
    options: Options = context.obj
    if given["listed"]:
        return options.end(list_runs(options))
    if given["console"]:
        return options.end(show_console(options, follow=bool(given["follow"])))
    emit = with_timestamps(options) if given["timestamps"] else options.renderer.emit
    return options.end(show_runs(options, emit, context))


def refuse_what_does_not_go_together(context: click.Context) -> None:
    """Raises UsageError that names both options."""
    own = [parameter for parameter in context.command.params if isinstance(parameter, click.Option)]
    given = [option.opts[-1] for option in own if context.params.get(str(option.name))]
    for one, other in itertools.permutations(given, 2):
        if other in ALONE.get(one, ()):
            raise click.UsageError(f"{one} and {other} do not go together", context)


def show_runs(options: Options, emit: Emit, context: click.Context) -> Outcome:
    """A run, or with --follow alone every one from the latest on."""
    from rum.host.runs import logs as story

    run_id, script, failed, following = (context.params[name] for name in ("run_id", "script", "failed", "follow"))
    if following and run_id is None:
        from rum.host.runs.follow import follow

        return follow(options.vm(), emit, script, require_reader)
    return story.logs(options.vm(), emit, story.Wanted(run_id, script, failed), follow=following, check=require_reader)


def list_runs(options: Options) -> Outcome:
    """The runs of the guest and of the host's copies."""
    from rum.host.runs.logs import list_runs
    from rum.host.runs.run_list import run_fields, run_table

    vm = options.vm()
    runs = list_runs(vm, options.renderer.emit)
    if options.output == "json":
        for run in runs:
            options.renderer.show(run_fields(run), ())
    elif runs:
        options.renderer.show({}, run_table(runs))
    return Outcome("" if runs else f"VM {vm.name} has no run yet")


def show_console(options: Options, *, follow: bool) -> Outcome:
    """The serial console's lines."""
    from rum.host.runs.console_log import console_log

    def show(line: str) -> None:
        options.renderer.show({"type": "console", "text": line}, (line,))

    return console_log(options.vm(), show, follow=follow, check=require_reader)


def with_timestamps(options: Options) -> Emit:
    """Lines with their times; in JSON they are there anyway."""
    from rum.host.runs.stamps import stamped

    emit: Callable[..., None] = options.renderer.emit
    return emit if options.output == "json" else stamped(emit)


def require_reader() -> None:
    """Raises BrokenPipeError where standard output is a pipe that nobody reads: `rum logs -f | grep -m 1 x`."""
    poller = select.poll()
    poller.register(1, 0)
    if any(events & select.POLLERR for _, events in poller.poll(0)):
        raise BrokenPipeError
