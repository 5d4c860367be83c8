"""A run in short, gathered from its events: an element of what the `runs` method lists."""

from __future__ import annotations

from types import SimpleNamespace

from rum.protocol.messages import Message

STARTED = {"boot_id": str, "trigger": str, "first_boot": bool}
RESULT = {
    "success": bool,
    "failed_script": str,
    "exit_code": int,
    "signal": int,
    "timed_out": bool,
    "cancelled": bool,
    "interrupted": bool,
}


class RunSummary(SimpleNamespace):
    """`started_us`: when its first script was started, in microseconds since the epoch, None before that.

    `duration_ms`: what its scripts have taken, waits left out. `success` is None while it is `running`; `exit_code` and
    `signal` are the failed script's. `known`: fields of which something is known.
    """

    def __init__(self, run_id: str, **known: object) -> None:
        super().__init__()
        self.run_id = run_id
        self.boot_id: str | None = None
        self.trigger: str | None = None
        self.first_boot = False
        self.started_us: int | None = None
        self.duration_ms = 0
        self.running = True
        self.success: bool | None = None
        self.failed_script: str | None = None
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.timed_out = False
        self.cancelled = False
        self.interrupted = False
        vars(self).update(known)

    def take(self, message: Message) -> None:
        """The next event, the result included; what has a wrong type is passed over."""
        kind = message.get("type")
        if kind == "run_started":
            self._copy(message, STARTED)
        elif kind == "script_started" and self.started_us is None:
            self._copy({"started_us": message.get("timestamp_us")}, {"started_us": int})
        elif kind == "script_exited" and type(message.get("duration_ms")) is int:
            self.duration_ms += message["duration_ms"]
        elif kind == "result":
            self.running = False
            self._copy(message, RESULT)

    def _copy(self, message: Message, types: dict[str, type]) -> None:
        for name, wanted in types.items():
            # Not isinstance(): true is an int, too.
            if type(message.get(name)) is wanted:
                setattr(self, name, message[name])
