"""How a guest stands with its scripts: what its latest run came to, and what has not passed yet."""

from __future__ import annotations

from collections.abc import Mapping

from rum.host.channel.client import AgentConnection, AgentError, is_result
from rum.host.deadlines import Check
from rum.host.errors import EXIT_SCRIPT_FAILED, GuestError
from rum.host.events import Event
from rum.host.outcome import Outcome, not_recorded, script_failed, while_script
from rum.host.runs.runview import Copy, RunView
from rum.protocol import ErrorCode, RunOn

COMMAND = "rum up"
"""What brings a guest forward that has come to a halt."""


class NoCopies:
    """Keeps nothing of a run that is only looked at: `rum up` still shows it as new."""

    def has(self, _run_id: str) -> bool:
        """As if it had all of them, so that none is opened."""
        return True

    def open_copy(self, run_id: str) -> Copy:
        """Never called."""
        raise ValueError(run_id)

    def prune(self) -> None:
        """There is nothing to remove."""


def ignored(_event: Event) -> None:
    """Takes events that nobody wants to see."""


def follow_run(connection: AgentConnection, run_id: str, check: Check) -> Outcome | None:
    """Wait for the end of a run that goes on; how it ended, None where it passed. `check` may raise.

    Raises GuestError, also where the run was interrupted.
    """
    view = read_run(connection, run_id, check, follow=True)
    return None if view is None else ending_of(view)


def latest_run(connection: AgentConnection, boot_id: object, check: Check) -> Outcome | None:
    """How the latest run ended, if it is of this boot; None where it passed, or goes on. Raises GuestError."""
    view = read_run(connection, None, check, follow=False)
    return None if view is None or view.boot_id != boot_id else ending_of(view)


def read_run(connection: AgentConnection, run_id: str | None, check: Check, *, follow: bool) -> RunView | None:
    """A run, or the latest one; None where there is none. Raises LostError, AgentError, what `check` raises."""
    view = RunView(ignored, NoCopies(), quiet=True, run_id=run_id)
    with connection:
        connection.send_request("attach", {"run_id": run_id, "offset": 0, "follow": follow})
        try:
            for received in connection.events(check):
                view.take(received)
                if is_result(received):
                    connection.acknowledge()
        except AgentError as exc:
            if exc.agent_code != ErrorCode.NOT_FOUND.value:
                raise
            return None
    return view


def ending_of(view: RunView) -> Outcome | None:
    """A run's end for a command that only waits for it. Raises GuestError where it was interrupted."""
    result = view.result
    if result is None or result.success:
        return None
    if result.interrupted:
        raise GuestError(
            f"the guest was rebooted or its agent stopped{while_script(result.failed_script or view.script)}",
            hint=f"run `{COMMAND}`",
            code="restarted",
        )
    if result.cancelled:
        text = f"the run was cancelled{while_script(result.failed_script)}"
        return Outcome(text, EXIT_SCRIPT_FAILED, "cancelled", f"`{COMMAND}` goes on where it stopped")
    if result.failed_script is None:
        return not_recorded(COMMAND)
    return script_failed(result, view.script_duration_ms, view.tail, COMMAND)


def unfinished(status: Mapping[str, object]) -> str:
    """What has not passed yet of the scripts that the agent knows, empty where all have; in words."""
    if not status.get("system_provisioned"):
        return "its first boot is not over"
    boot_id = status.get("boot_id")
    waiting = [str(script.get("name")) for script in scripts_of(status, RunOn.BOOT) if not has_passed(script, boot_id)]
    return f"{', '.join(waiting)} did not pass in this boot yet" if waiting else ""


def is_spoilt(status: Mapping[str, object]) -> bool:
    """Whether a System script was run again after the first boot, and did not pass: `rum up` leaves that as it is."""
    ends = [script.get("last") for script in scripts_of(status, RunOn.SYSTEM)]
    return any(isinstance(last, dict) and last.get("exit_code") != 0 for last in ends)


def scripts_of(status: Mapping[str, object], kind: RunOn) -> list[Mapping[str, object]]:
    """The scripts of a kind that the agent knows, as `status` tells of them."""
    scripts = status.get("scripts")
    return [script for script in scripts if script.get("run_on") == kind.value] if isinstance(scripts, list) else []


def has_passed(script: Mapping[str, object], boot_id: object) -> bool:
    """Whether the script, of `status`, has passed in this boot as it is now."""
    last = script.get("last")
    if not isinstance(last, dict):
        return False
    return bool(
        last.get("exit_code") == 0 and last.get("boot_id") == boot_id and last.get("sha256") == script.get("sha256")
    )
