"""`rum logs`."""

from __future__ import annotations

import click

from rum.host.cli.complete import RUNS, SCRIPTS
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options


@command(examples=["rum logs --follow", "rum logs --run 000002-b59574 --script migrate"])
@global_options
@click.option("-f", "--follow", is_flag=True, help="Stay until the run has ended.")
@click.option("--run", "run_id", metavar="ID", shell_complete=RUNS, help="Which run (default: the latest).")
@click.option("--script", metavar="NAME", shell_complete=SCRIPTS, help="Only this script.")
@click.pass_obj
def logs(options: Options, follow: bool, run_id: str | None, script: str | None) -> int:
    """Show the output of a run."""
    from rum.host.runs import logs as story

    outcome = story.logs(options.vm(), options.renderer.emit, run_id=run_id, script=script, follow=follow)
    return options.end(outcome)
