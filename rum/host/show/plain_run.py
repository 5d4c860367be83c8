"""A run as lines of text."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rum.host.channel.checked import SENTENCE_MAX
from rum.host.outcome import how_it_ended, seconds
from rum.host.text import LineAssembler
from rum.protocol import LogEvent, ProvisionResult

MARKS = {"stdout": "|", "stderr": "!"}

WAITS = {
    "local-fs": "the file systems",
    "network-online": "the network",
    "cloud-init": "cloud-init to finish",
}


class PlainRun:
    """Writes a run line by line; lines without an end are held back until their script's end."""

    def __init__(self, write_line: Callable[[str], None]) -> None:
        self._write = write_line
        self._lines: dict[tuple[str, str], LineAssembler] = {}
        self._position = ""
        self._show = {
            "run_started": self._started,
            "script_started": self._script_started,
            "script_exited": self._script_exited,
            "waiting": self._waiting,
            "warning": self._warning,
            "truncated": self._truncated,
        }

    def message(self, message: Mapping[str, object]) -> None:
        """Show a run event; the result is the outcome's business."""
        show = self._show.get(str(message.get("type")))
        if show is not None:
            self.flush()
            show(message)

    def output(self, event: LogEvent) -> None:
        """Show the lines that this piece completes."""
        lines = self._lines.setdefault((event.script, event.stream), LineAssembler())
        self._write_all(event.script, event.stream, lines.feed(event.data))

    def flush(self) -> None:
        """Show what is there of lines that have no end."""
        for (script, stream), lines in self._lines.items():
            self._write_all(script, stream, lines.feed(b"", final=True))
        self._lines.clear()

    def _write_all(self, script: str, stream: str, lines: list[str]) -> None:
        for line in lines:
            self._write(f"{script} {MARKS.get(stream, '|')} {line}".rstrip())

    def _started(self, message: Mapping[str, object]) -> None:
        skipped = message.get("skipped")
        if isinstance(skipped, list) and skipped:
            self._write(f"not needed: {', '.join(str(name) for name in skipped)}")

    def _script_started(self, message: Mapping[str, object]) -> None:
        self._position = f"[{message.get('index')}/{message.get('total')}] {message.get('name')}"
        self._write(f"{self._position} ({message.get('run_on')}, order {message.get('order')})")

    def _script_exited(self, message: Mapping[str, object]) -> None:
        ending, duration = script_ending(message), message.get("duration_ms")
        how = "ok" if ending.success and not ending.timed_out else how_it_ended(ending)
        took = f" ({seconds(duration)})" if isinstance(duration, int) else ""
        self._write(f"{self._position} {how}{took}")

    def _waiting(self, message: Mapping[str, object]) -> None:
        target = str(message.get("for"))
        self._write(f"waiting for {WAITS.get(target, target)}")

    def _warning(self, message: Mapping[str, object]) -> None:
        self._write(f"warning: {warning_text(message)}")

    def _truncated(self, message: Mapping[str, object]) -> None:
        self._write(left_out(message))


def script_ending(message: Mapping[str, object]) -> ProvisionResult:
    """How a script ended, by its `script_exited`."""
    code, signal_number = message.get("exit_code"), message.get("signal")
    return ProvisionResult(
        success=code == 0,
        exit_code=code if isinstance(code, int) else None,
        signal=signal_number if isinstance(signal_number, int) else None,
        timed_out=message.get("timed_out") is True,
    )


def warning_text(message: Mapping[str, object]) -> str:
    """What the agent warns of."""
    return str(message.get("message"))[:SENTENCE_MAX]


def left_out(message: Mapping[str, object]) -> str:
    """The sentence on output that the record has no room for."""
    return f"{message.get('name')}: {message.get('bytes')} bytes of output were left out here, the log is full"
