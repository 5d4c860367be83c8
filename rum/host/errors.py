"""Errors for people: one sentence with what was wrong, where, and, as the hint, what to do.

RumError
 +-- ConfigError   exit 2   the command line or rum.toml is wrong
 +-- HostError     exit 3   this host cannot do it: QEMU, libvirt, an image or a transport is missing or broken
 +-- GuestError    exit 4   the guest or its agent was not reached, was lost, or timed out   .tail: the console's end

A script that fails is no exception: it is a result, and the command exits with 1.
"""

from __future__ import annotations

from collections.abc import Sequence

EXIT_OK = 0
EXIT_SCRIPT_FAILED = 1
EXIT_INTERRUPTED = 130
EXIT_SIGNAL_BASE = 128
"""What a shell adds to the number of the signal that ended a command."""


class RumError(Exception):
    """A failure that the user is told about without a traceback.

    Attributes: `hint`, what to do about it; `tail`, lines that show the cause, oldest first; `code`, for programs: the
    class's, or a closer one where a program can do something about it (docs/errors.md).
    """

    exit_code = 125
    code = "internal"
    advice: str | None = None
    """The hint of a class whose errors all have the same remedy, where none is given."""

    def __init__(
        self, message: str, *, hint: str | None = None, tail: Sequence[str] = (), code: str | None = None
    ) -> None:
        super().__init__(message)
        self.hint = hint or self.advice
        if code:
            self.code = code
        self.tail = tuple(tail)


class ConfigError(RumError):
    """The command line or the configuration is wrong; `problems` holds every one that was found."""

    exit_code = 2
    code = "config"

    def __init__(self, message: str, *, hint: str | None = None, problems: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)


class HostError(RumError):
    """This host cannot do it."""

    exit_code = 3
    code = "host"


class GuestError(RumError):
    """The guest or its agent could not be reached, was lost, or timed out."""

    exit_code = 4
    code = "guest"
