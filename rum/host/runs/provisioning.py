"""What `rum up` and `rum provision` do with the agent: show what was missed, run what has to run, say how it ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rum.host.channel.client import AgentError, LostError
from rum.host.deadlines import Deadline, pause
from rum.host.errors import GuestError
from rum.host.events import Notice
from rum.host.guest.drives import drives_script
from rum.host.outcome import Outcome, counted, interrupted, not_recorded, script_failed, while_script
from rum.host.runs.guest_runs import runs_in_guest
from rum.host.runs.runreader import RunReader
from rum.host.runs.runview import RunView
from rum.host.runs.selection import beginning_with, require_passed
from rum.protocol import ErrorCode, Message, Mode, ProvisionResult, ProvisionScript, RunOn

DRIVES = "drives"
"""The script that rum generates: safe to run again, so a new drive needs no word from the user."""

UNNAMED_LOSSES_MAX = 5
"""Connections lost in a row before a run had a name, before rum gives up: the agent crashes on the request."""

BUSY_PAUSE_S = 0.5

BUSY_MAX = 100
"""Runs of others that are waited for, one after the other, before rum gives up: no honest agent is that busy."""


class Provisioning:
    """One `up` or `provision`, with an agent that has answered. Everything raises GuestError."""

    def __init__(self, reader: RunReader, scripts: Sequence[ProvisionScript], command: str) -> None:
        self._reader = reader
        self._name = reader.guest.name
        self._scripts = list(scripts)
        self._command = command

    def auto(self) -> Outcome:
        """What `up` does: show the unseen run, end with its failure if it is the answer already, else provision."""
        unseen = self._show_unseen()
        if self._reader.interrupt.requested:
            return self._cancelled()
        if unseen is not None and not unseen.replayed and unseen.result and unseen.result.interrupted:
            return self._outcome(unseen)
        status = self._status()
        self._unmount_what_is_gone(status)
        if unseen is not None and self._is_our_failure(unseen, status):
            return self._outcome(unseen)
        drives = [script for script in self._scripts if script.name == DRIVES and not is_applied(script, status)]
        if drives and status.get("system_provisioned"):
            view = self._run(drives, Mode.SYSTEM)
            if not is_good(view):
                return self._outcome(view)
        return self._outcome(self._run(self._scripts, Mode.AUTO), before=unseen)

    def selected(self, mode: Mode, start: str | None = None) -> Outcome:
        """What `provision --system`, `--boot` and `--all` do, with `start` from that script on. Raises ConfigError."""
        kinds = {Mode.SYSTEM: {RunOn.SYSTEM}, Mode.BOOT: {RunOn.BOOT}}.get(mode, set(RunOn))
        scripts = self._scripts if start is None else self._beginning_with(start, mode)
        return self._outcome(self._run([script for script in scripts if script.run_on in kinds], mode))

    def _beginning_with(self, start: str, mode: Mode) -> list[ProvisionScript]:
        scripts = beginning_with(start, self._scripts)
        status = self._status()
        if mode is Mode.ALL and not status.get("system_provisioned"):
            left_out = [script for script in self._scripts if script not in scripts]
            require_passed(left_out, start, cached_scripts(status), runs_in_guest(self._reader))
        return scripts

    def _unmount_what_is_gone(self, status: Mapping[str, object]) -> None:
        """A guest that has had a drives script gets one without file systems where rum.toml has none any more."""
        had = any(entry.get("name") == DRIVES for entry in cached_scripts(status))
        empty = drives_script((), "", {})
        if had and all(script.name != DRIVES for script in self._scripts) and not is_applied(empty, status):
            self._scripts.insert(0, empty)

    def _status(self) -> Message:
        with self._reader.connect() as connection:
            return connection.call("status")

    def _run(self, scripts: Sequence[ProvisionScript], mode: Mode) -> RunView:
        losses = busy = 0
        while True:
            try:
                return self._reader.provision(scripts, mode.value)
            except AgentError as exc:
                busy += 1
                if exc.agent_code != ErrorCode.BUSY.value or busy > BUSY_MAX:
                    raise
                view = self._wait_out_busy()
                if view is not None and self._reader.interrupt.requested:
                    return view
            except LostError:
                losses += 1
                if losses >= UNNAMED_LOSSES_MAX:
                    raise
                # It may have been started, and even have ended, before we could learn its name.
                unseen = self._show_unseen()
                if unseen is not None and (mode is not Mode.AUTO or not is_good(unseen)):
                    return unseen

    def _wait_out_busy(self) -> RunView | None:
        """Read the run that keeps the agent busy to its end; None where it was over before it could be read."""
        self._reader.emit(Notice("the agent is busy with another run; waiting for its end"))
        try:
            return self._reader.attach(RunView(self._reader.emit, self._reader.copies))
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None
        finally:
            pause(BUSY_PAUSE_S, Deadline(BUSY_PAUSE_S))

    def _show_unseen(self) -> RunView | None:
        """The latest run, shown, if its end has not been seen here and it is of this boot; copied if of an earlier."""
        unseen = UnseenRun(self._reader)
        try:
            return unseen.show()
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None

    def _is_our_failure(self, view: RunView, status: Mapping[str, object]) -> bool:
        """Whether the run that was missed answers this command: it failed, in this boot, with these very scripts.

        What was stopped before anybody looked is simply run again.
        """
        result = view.result
        if result is None or result.success or (view.replayed and (result.cancelled or result.interrupted)):
            return False
        return view.boot_id == status.get("boot_id") and cached_identities(status) == {
            (script.name, script.order, script.run_on.value, script.sha256) for script in self._scripts
        }

    def _outcome(self, view: RunView, before: RunView | None = None) -> Outcome:
        """`before`: a run of this boot that this command has shown first."""
        result = view.result
        if self._reader.interrupt.requested:
            return self._cancelled()
        if result is None:
            raise GuestError("the agent ended the run without a result")
        if result.changed:
            self._reader.emit(Notice(changed_sentence(result.changed), warning=True))
        if result.interrupted:
            raise GuestError(
                f"the guest was rebooted or its agent stopped{while_script(result.failed_script or view.script)}",
                hint=f"run `{self._command}` again",
                code="restarted",
            )
        if result.cancelled:
            return interrupted(f"the run was cancelled{while_script(result.failed_script)}", self._again())
        if not result.success:
            return self._failed(view)
        shown = before.result.ran if before and before.result else ()
        return Outcome(f"VM {self._name} is up: {what_passed(result, shown)}")

    def _failed(self, view: RunView) -> Outcome:
        if view.result is None:
            raise GuestError("the agent ended the run without a result")
        if view.result.failed_script is None:
            return not_recorded(self._command)
        return script_failed(view.result, view.script_duration_ms, view.tail, self._command)

    def _cancelled(self) -> Outcome:
        return interrupted("interrupted; the run was cancelled", self._again())

    def _again(self) -> str:
        # With options it runs what it names, whatever has passed.
        then = "begins again" if " --" in self._command else "goes on where it stopped"
        return f"VM {self._name} is still running; `{self._command}` {then}"


class UnseenRun:
    """The guest's latest run, if its whole record is not among the host's copies."""

    def __init__(self, reader: RunReader) -> None:
        self._reader = reader

    def show(self) -> RunView | None:
        """What there is as a replay, then what goes on live. Raises AgentError `not-found` where there was no run."""
        latest = self._reader.latest()
        if self._reader.copies.has(latest.run_id):
            return None
        if latest.boot_id != latest.this_boot:
            self._copy_quietly(latest.run_id)
            return None
        return self._replay(latest.run_id)

    def _replay(self, run_id: str) -> RunView:
        emit = self._reader.emit
        emit(Notice(f"run {run_id} began before this command; first what it has printed so far"))
        view = RunView(emit, self._reader.copies, replayed=True, run_id=run_id)
        self._reader.attach(view, follow=False)
        if view.result is None:
            view.replayed = False
            emit(Notice(f"run {run_id} goes on, from here live"))
            self._reader.attach(view)
        return view

    def _copy_quietly(self, run_id: str) -> None:
        view = RunView(self._reader.emit, self._reader.copies, quiet=True, run_id=run_id)
        self._reader.attach(view)
        result = view.result
        ended = "passed" if result and result.success else "did not pass"
        self._reader.emit(Notice(f"run {run_id} of an earlier boot {ended} unseen; show it: rum logs --run {run_id}"))


def what_passed(result: ProvisionResult, shown: Sequence[str] = ()) -> str:
    """What a run that passed has done; what it did not run because the run `shown` before has done so counts, too.

    >>> what_passed(ProvisionResult(success=True, ran=["system"], skipped=["boot", "drives"]))
    '1 script passed, 2 needed no run'
    >>> what_passed(ProvisionResult(success=True, skipped=["system", "boot"]), shown=["boot"])
    '1 script passed, 1 needed no run'
    """
    passed = len(result.ran) + sum(name in shown for name in result.skipped)
    unneeded = len(result.ran) + len(result.skipped) - passed
    ran = f"{counted(passed, 'script')} passed" if passed else ""
    skipped = f"{unneeded} needed no run" if unneeded else ""
    return ", ".join(part for part in (ran, skipped) if part) or "no scripts to run"


def is_good(view: RunView) -> bool:
    """Whether the run has passed."""
    return view.result is not None and view.result.success is True


def is_applied(script: ProvisionScript, status: Mapping[str, object]) -> bool:
    """Whether the script has passed as it is now."""
    for entry in cached_scripts(status):
        last = entry.get("last")
        if entry.get("name") == script.name and isinstance(last, dict):
            return bool(last.get("sha256") == script.sha256 and last.get("exit_code") == 0)
    return False


def cached_identities(status: Mapping[str, object]) -> set[tuple[object, ...]]:
    """What tells the agent's cached scripts apart."""
    return {tuple(entry.get(key) for key in ("name", "order", "run_on", "sha256")) for entry in cached_scripts(status)}


def cached_scripts(status: Mapping[str, object]) -> list[dict[str, object]]:
    """The agent's cached scripts as `status` lists them."""
    scripts = status.get("scripts")
    return [entry for entry in scripts if isinstance(entry, dict)] if isinstance(scripts, list) else []


def changed_sentence(names: Sequence[str]) -> str:
    """The warning for System scripts that were edited after the first boot."""
    listed = ", ".join(str(name) for name in names)
    verb = "has" if len(names) == 1 else "have"
    return f"{listed} {verb} changed since the first boot and did not run; `rum provision --system` applies it"
