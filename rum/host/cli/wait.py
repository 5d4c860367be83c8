"""`rum wait`."""

from __future__ import annotations

import click

from rum.host.cli.complete import conditions
from rum.host.cli.help import command
from rum.host.cli.options import Options, global_options
from rum.host.cli.seconds import seconds

DEFAULT_TIMEOUT_S = 600.0


@command(
    examples=[
        "rum wait                                # every script has passed",
        "rum wait --for agent --timeout 60",
        "rum wait --for 'curl -fsS localhost'    # in the guest, until it ends with 0",
    ]
)
@global_options
@click.option(
    "--for",
    "goal",
    metavar="WHAT",
    shell_complete=conditions,
    default="provisioned",
    help="agent, provisioned (default), healthy ([provision.healthcheck] too), or a command line for the guest's sh.",
)
@click.option(
    "--timeout",
    "timeout_s",
    metavar="S",
    type=seconds,
    default=DEFAULT_TIMEOUT_S,
    help=f"In seconds (default: {DEFAULT_TIMEOUT_S:g}).",
)
@click.pass_obj
def wait(options: Options, goal: str, timeout_s: float) -> int:
    """Wait for a VM that is being started elsewhere."""
    from rum.host import wait as story

    if not goal.strip():
        raise click.UsageError("--for takes agent, provisioned, healthy or a command line")
    goals = {"agent": [story.AGENT], "provisioned": [story.PROVISIONED]}.get(goal)
    if goal == "healthy":
        goals = [story.PROVISIONED, *story.healthy(options.load().healthcheck)]
    if goals is None:
        goals = [story.Goal("has passed: " + goal, story.passes(goal))]
    return options.end(story.wait(options.vm(), options.renderer.emit, goals, timeout_s))
