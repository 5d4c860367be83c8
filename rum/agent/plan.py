"""What a `provision` request runs: the decisions of docs/architecture.md's table, without doing anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from rum.agent.cache import CachedScript
from rum.agent.ledger import Ledger
from rum.protocol.scripts import Mode, RunOn


class Plan(NamedTuple):
    """`run` in order; `skipped`: names that need not run."""

    run: list[CachedScript]
    skipped: list[str]


def make_plan(mode: Mode, scripts: Iterable[CachedScript], ledger: Ledger) -> Plan:
    """What is to run of the scripts, which are in order."""
    run, skipped = [], []
    changed = changed_scripts(scripts, ledger)
    for script in scripts:
        if must_run(mode, script, ledger):
            run.append(script)
        elif script.name not in changed:
            skipped.append(script.name)
    return Plan(run, skipped)


def must_run(mode: Mode, script: CachedScript, ledger: Ledger) -> bool:
    """Whether the script runs: an explicit mode decides by kind alone, `auto` by what has passed."""
    if mode is not Mode.AUTO:
        return mode is Mode.ALL or mode.value == script.run_on.value
    if script.run_on is RunOn.SYSTEM:
        return not ledger.system_provisioned
    return not ledger.has_passed(script)


def changed_scripts(scripts: Iterable[CachedScript], ledger: Ledger) -> list[str]:
    """Names of System scripts that were edited or added after the first boot and have not passed since."""
    if not ledger.system_provisioned:
        return []
    return [script.name for script in scripts if script.run_on is RunOn.SYSTEM and not ledger.has_passed(script)]
