"""What a command prints while it works, and the `done` that it ends with.

The events of a run come from the guest, as docs/protocol.md has them.
"""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict


class Phase(TypedDict):
    """A step of a command begins or ends."""

    type: Literal["phase"]
    name: str
    """`image`, `disk`, `seed`, `domain`, `boot`, `agent`, `healthcheck`, `shutdown`, `wait`; more may come."""
    status: Literal["started", "done", "skipped", "failed"]
    duration_ms: int | None
    """How long it took; null where it begins, and where there was nothing to do."""
    detail: NotRequired[str]
    """What came of it, for people."""


class Notice(TypedDict):
    """A sentence for people: what was chosen, what is slower, what to do next."""

    type: Literal["notice"]
    text: str
    warning: bool


class Progress(TypedDict):
    """How much of something has arrived: about once a second, and at its end."""

    type: Literal["progress"]
    name: str
    """What arrives: `image`, for example."""
    done: int
    """Bytes so far."""
    total: int | None
    """Bytes of the whole; null where nobody knows."""


class Console(TypedDict):
    """A line of the guest's serial console: with `-v`, and of `rum logs --console`."""

    type: Literal["console"]
    text: str


class BootStage(TypedDict):
    """A part of a guest's boot."""

    name: str
    """`kernel`, `boot finished`, or a unit of systemd without `.service`."""
    start_ms: int
    """From the start of the kernel, by the guest's clock."""
    took_ms: int | None
    """Null for what is a moment."""


class BootModule(TypedDict):
    """A module of cloud-init that took its time."""

    name: str
    took_ms: int


class GuestBoot(TypedDict):
    """Where the guest's boot went, by systemd's and cloud-init's figures: of `up -v` and `reboot -v`."""

    type: Literal["guest_boot"]
    stages: list[BootStage]
    """In the order in which they began."""
    modules: list[BootModule]
    """The slowest of cloud-init's, the slowest first."""


class Output(TypedDict):
    """A piece of what a script or a command of `rum exec` has printed; it ends anywhere but inside a character."""

    type: Literal["output"]
    script: str
    """The script's name; `exec` for a command."""
    stream: Literal["stdout", "stderr"]
    timestamp_us: int
    """When the agent read it, in microseconds since the epoch."""
    text: str
    """What is not UTF-8 is U+FFFD."""


class RunEvent(TypedDict):
    """What all events of a run have in common."""

    replayed: NotRequired[bool]
    """True where it happened before this command."""


class RunStarted(RunEvent):
    """A run of scripts begins."""

    type: Literal["run_started"]
    run_id: str
    boot_id: str
    """The boot that it belongs to, as the guest's kernel names it."""
    first_boot: bool
    trigger: str
    """`host`, or `boot` for a run that the agent has begun by itself."""
    scripts: list[str]
    """What runs, in this order."""
    skipped: list[str]
    """What need not run."""


For = TypedDict("For", {"for": str})
"""A class cannot have a field of this name."""


class Waiting(RunEvent, For):
    """The next script waits: `for` is `network-online` or `cloud-init`."""

    type: Literal["waiting"]


class Warned(RunEvent):
    """Something in the guest is not as it should be; the run goes on."""

    type: Literal["warning"]
    code: str
    """`wait-timeout` or `not-recorded`."""
    message: str


class ScriptStarted(RunEvent):
    """A script is started."""

    type: Literal["script_started"]
    name: str
    order: int
    run_on: str
    """`system` or `boot`."""
    index: int
    """Its position in the run, from 1."""
    total: int
    """How many scripts the run has."""
    timestamp_us: int
    """In microseconds since the epoch."""


class Truncated(RunEvent):
    """Output of a script is missing here, because the record of its run is full."""

    type: Literal["truncated"]
    name: str
    bytes: int
    """So many."""


class Ending(TypedDict):
    """How a process ended: of `exit_code` and `signal` one is set."""

    exit_code: int | None
    """127 and 126 also where it could not be started."""
    signal: int | None
    timed_out: bool


class ScriptExited(RunEvent, Ending):
    """A script has ended."""

    type: Literal["script_exited"]
    name: str
    duration_ms: int


class Result(RunEvent, Ending):
    """A run has ended; how its failed script ended is repeated here."""

    type: Literal["result"]
    success: bool
    run_id: str | None
    """Null where there was nothing to run."""
    failed_script: str | None
    cancelled: bool
    """By somebody who asked for it."""
    interrupted: bool
    """By a reboot, or the end of the agent."""
    first_boot: bool
    ran: list[str]
    """What was started, a failed script included."""
    skipped: list[str]
    """What did not have to run."""
    changed: list[str]
    """System scripts that have changed since the first boot, and were not run."""
    system_provisioned: bool
    """Whether the first boot is over: every System script has passed."""


class Error(TypedDict):
    """Why a command did not end well."""

    code: str
    """For programs; docs/errors.md lists them."""
    message: str
    """For people."""
    hint: str | None
    """What to do about it."""
    problems: NotRequired[list[str]]
    """Everything that is wrong with rum.toml."""
    tail: NotRequired[list[str]]
    """Lines that show the cause, oldest first: the last ones of a script's output, or of the console."""


class Done(TypedDict):
    """The last line of a command that does something, and of every command that fails."""

    type: Literal["done"]
    schema: Literal[1]
    """The version of what is described here."""
    command: str
    """`up`, `image pull`, ..."""
    ok: bool
    """Whether `exit` is 0."""
    exit: int
    """The exit status of the process."""
    files: NotRequired[int]
    """How many files `cp` has copied."""
    bytes: NotRequired[int]
    """How many bytes that were."""
    error: NotRequired[Error]


Event = (
    Phase
    | Notice
    | Progress
    | Console
    | GuestBoot
    | Output
    | RunStarted
    | Waiting
    | Warned
    | ScriptStarted
    | Truncated
    | ScriptExited
    | Result
    | Done
)
"""Any of them; `type` says which."""
