"""How a command ended, when it did not end with an error: what is said about it and the exit status."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import NamedTuple

from rum.host.errors import EXIT_INTERRUPTED, EXIT_OK, EXIT_SCRIPT_FAILED
from rum.protocol import ProvisionResult

SHELL_CODES = {126: " (not executable)", 127: " (command or interpreter not found)"}


class Copied(NamedTuple):
    """What has been copied."""

    files: int = 0
    bytes: int = 0


@dataclass(frozen=True)
class Outcome:
    """The end of a command.

    `code` is empty where it is good; `tail` are a failed script's last lines of output; `copied` is set by what copies.
    """

    text: str
    exit: int = EXIT_OK
    code: str = ""
    hint: str | None = None
    tail: tuple[str, ...] = ()
    copied: Copied | None = None


def interrupted(text: str, hint: str | None = None) -> Outcome:
    """The end of a command that its user has interrupted."""
    return Outcome(text, EXIT_INTERRUPTED, "interrupted", hint)


def while_script(name: str | None) -> str:
    """The end of a sentence on a run that ended early, which may have been between two scripts.

    >>> while_script("migrate"), while_script(None)
    (" while script 'migrate' ran", '')
    """
    return f" while script '{name}' ran" if name else ""


def not_recorded(command: str) -> Outcome:
    """The end of a run whose scripts have passed, of which the guest could not keep that they have."""
    return Outcome(
        "every script has passed, but the guest could not record it",
        EXIT_SCRIPT_FAILED,
        "not-recorded",
        f"its disk may be full: look with `rum exec -- df -h /var/lib/rum`, make room, and run `{command}` again",
    )


def script_failed(result: ProvisionResult, duration_ms: int | None, tail: tuple[str, ...], command: str) -> Outcome:
    """The end of a run in which a script failed."""
    after = "" if duration_ms is None else f" after {seconds(duration_ms)}"
    return Outcome(
        f"script '{result.failed_script}' {how_it_ended(result)}{after}",
        EXIT_SCRIPT_FAILED,
        "script-failed",
        f"fix it and run `{command}` again; the VM is still running",
        tail,
    )


def how_it_ended(result: ProvisionResult) -> str:
    """The failed script's end in words.

    >>> how_it_ended(ProvisionResult(success=False, signal=9))
    'was killed by signal 9 (SIGKILL)'
    """
    if result.timed_out:
        return "timed out"
    if result.signal is not None:
        return f"was killed by signal {result.signal}{signal_name(result.signal)}"
    if result.exit_code is not None:
        return f"failed with exit code {result.exit_code}{SHELL_CODES.get(result.exit_code, '')}"
    return "failed"


def signal_name(number: int) -> str:
    """The signal's name in brackets, nothing for an unknown one."""
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


def seconds(duration_ms: float) -> str:
    """A duration for people.

    >>> seconds(83), seconds(12345), seconds(754000)
    ('0.1 s', '12.3 s', '12 min 34 s')
    """
    if duration_ms < 100_000:
        return f"{duration_ms / 1000:.1f} s"
    minutes, rest = divmod(round(duration_ms / 1000), 60)
    return f"{minutes} min {rest} s"


def counted(number: int, what: str) -> str:
    """A number of things.

    >>> counted(1, "script"), counted(3, "script")
    ('1 script', '3 scripts')
    """
    return f"{number} {what}{'' if number == 1 else 's'}"
