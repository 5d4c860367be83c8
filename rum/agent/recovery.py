"""At start: close what a predecessor left open, kill what it left running, and keep only the last runs."""

from __future__ import annotations

import contextlib
import os
import re
import sys

from rum.agent import durable
from rum.agent.cache import ScriptCache
from rum.agent.containment import SESSION_SUFFIX, contain, kill_now
from rum.agent.exec import RUNNING_SUFFIX
from rum.agent.ledger import Ledger
from rum.agent.plan import changed_scripts
from rum.agent.record import FILE_NAME, Scan, scan_file
from rum.agent.run import SESSION_FILE
from rum.agent.settings import Settings
from rum.protocol.limits import RECORDS_KEPT
from rum.protocol.messages import encode_message
from rum.protocol.results import ProvisionResult
from rum.protocol.summary import RunSummary

RUN_ID = re.compile(r"[0-9]{6,}-[0-9a-f]{6}")


def run_ids(settings: Settings) -> list[str]:
    """Every run there is a directory of, oldest first."""
    names = os.listdir(settings.runs_dir) if os.path.isdir(settings.runs_dir) else []
    return sorted(filter(RUN_ID.fullmatch, names))


def new_run_id(settings: Settings) -> str:
    """Sorts after every other; the random part tells two VMs' runs apart in the host's copies."""
    ids = run_ids(settings)
    number = int(ids[-1].split("-")[0]) + 1 if ids else 1
    return f"{number:06d}-{os.urandom(3).hex()}"


def prune_runs(settings: Settings, *, keep: int = RECORDS_KEPT) -> None:
    """Remove the oldest runs so that at most `keep` are left; one that cannot be removed is in nobody's way."""
    for run_id in run_ids(settings)[:-keep]:
        with contextlib.suppress(OSError):
            durable.remove_dir(os.path.join(settings.runs_dir, run_id))


def settle_state(settings: Settings) -> None:
    """Make the directories, and durable what a predecessor may have been killed over before it could. Raises OSError.

    What this agent reads and tells would else be gone after a power cut. In the first boot that is also true of what
    cloud-init has brought, this agent and its key among it: the host takes an answer as a word on that.
    """
    if settings.in_guest and not os.path.exists(settings.sentinel):
        os.sync()
    for directory in (settings.state_dir, settings.runs_dir, settings.scripts_dir):
        durable.make_dirs(directory)
        durable.sync_dir(directory)


def close_interrupted_runs(settings: Settings, ledger: Ledger, cache: ScriptCache) -> dict[str, RunSummary]:
    """Give every run without a result one, once nothing of it runs any more; a full disk leaves it without.

    Returns those that have one.
    """
    found = (close_if_interrupted(settings, run_id, ledger, cache) for run_id in run_ids(settings))
    return {summary.run_id: summary for summary in found if summary}


def kill_left_commands(settings: Settings) -> None:
    """Kill the commands of clients that a killed predecessor served: nobody is left to run them for."""
    names = sorted(os.listdir(settings.fifo_dir)) if os.path.isdir(settings.fifo_dir) else []
    for label in (name[: -len(RUNNING_SUFFIX)] for name in names if name.endswith(RUNNING_SUFFIX)):
        prefix = os.path.join(settings.fifo_dir, label)
        kill_now(contain(settings, prefix + SESSION_SUFFIX, label))
        os.unlink(prefix + RUNNING_SUFFIX)


def close_if_interrupted(settings: Settings, run_id: str, ledger: Ledger, cache: ScriptCache) -> RunSummary | None:
    """Cut the run's record to its last whole frame and end it, unless it has ended; None where that fails."""
    directory = os.path.join(settings.runs_dir, run_id)
    try:
        return close_record(settings, directory, run_id, ledger, cache)
    except FileNotFoundError:
        durable.remove_dir(directory)
    except OSError as exc:
        sys.stderr.write(f"rum-agent: cannot close the record of run {run_id}: {exc}\n")
    return None


def close_record(
    settings: Settings, directory: str, run_id: str, ledger: Ledger, cache: ScriptCache
) -> RunSummary | None:
    """See `close_if_interrupted`. Raises OSError, FileNotFoundError where there is no record."""
    fd = durable.open_log(os.path.join(directory, FILE_NAME), new=False)
    try:
        scan = scan_file(fd, run_id)
        if scan.result_at is None:
            kill_leftovers(settings, directory, run_id, scan)
            if scan.started is None:
                durable.remove_dir(directory)
                return None
            durable.cut(fd, scan.end)
            result = {"type": "result", **interrupted(run_id, scan, ledger, cache)._asdict()}
            durable.write_all(fd, encode_message(result))
            scan.summary.take(result)
        durable.sync(fd)
        return scan.summary
    finally:
        os.close(fd)


def kill_leftovers(settings: Settings, directory: str, run_id: str, scan: Scan) -> None:
    """Kill what the interrupted script has started; what earlier scripts left in the background may live on."""
    if scan.open_script is not None:
        label = f"{run_id}.{scan.open_script['index']}"
        kill_now(contain(settings, os.path.join(directory, SESSION_FILE), label))


def interrupted(run_id: str, scan: Scan, ledger: Ledger, cache: ScriptCache) -> ProvisionResult:
    """The result of a run that nobody saw the end of."""
    started = scan.started or {}
    open_script: str | None = scan.open_script["name"] if scan.open_script else None
    # The ledger is written first: the script may have ended although its record does not know.
    ended = ledger.last(open_script) if open_script else None
    if ended is None or ended["run_id"] != run_id:
        ended = {"exit_code": None, "signal": None, "timed_out": False}
    passed = ended["exit_code"] == 0 and not ended["timed_out"]
    return ProvisionResult(
        success=False,
        run_id=run_id,
        failed_script=None if passed else open_script,
        exit_code=None if passed else ended["exit_code"],
        signal=ended["signal"],
        timed_out=ended["timed_out"],
        interrupted=True,
        first_boot=bool(started.get("first_boot")),
        ran=scan.ran,
        skipped=list(started.get("skipped", [])),
        changed=changed_scripts(cache.scripts, ledger),
        system_provisioned=ledger.system_provisioned,
    )
