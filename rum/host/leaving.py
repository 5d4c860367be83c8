"""What is said when a signal ends a command before it has come to an end by itself."""

from __future__ import annotations

import signal

from rum.host.errors import EXIT_SIGNAL_BASE
from rum.host.outcome import Outcome

IN_THE_GUEST = ("exec", "shell")
PROVISIONING = ("up", "provision")


def outcome_of_signal(command: str, number: int) -> Outcome:
    """The end of a command by a signal; its exit status is a shell's for that.

    >>> outcome_of_signal("exec", 15).text, outcome_of_signal("exec", 15).exit
    ('ended by SIGTERM; the command does not go on in the guest', 143)
    """
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    hint = None
    if command in IN_THE_GUEST:
        how += "; the command does not go on in the guest"
    elif command == "cp":
        how += "; what had arrived whole is kept, nothing is there by halves"
    elif command in PROVISIONING and number != signal.SIGINT:
        how += "; the VM is left as it is, and a run in it goes on"
        hint = f"`rum {command}` goes on from there, `rum logs --follow` shows what the guest does meanwhile"
    elif command in PROVISIONING:
        hint = "the VM is left as it is; the same command goes on"
    return Outcome(how, EXIT_SIGNAL_BASE + number, "interrupted", hint)
