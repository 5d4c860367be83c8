"""One run: its scripts one after the other, everything that happens written to its record."""

from __future__ import annotations

import os
import time
from typing import Callable, NamedTuple

from rum.agent.cache import CachedScript, ScriptCache
from rum.agent.containment import contain
from rum.agent.disk_sync import DiskSync
from rum.agent.ledger import Ledger
from rum.agent.loop import Loop
from rum.agent.output import Gatherer
from rum.agent.plan import Plan, changed_scripts
from rum.agent.process import Ending, Process, start
from rum.agent.pump import Pump, open_fifo
from rum.agent.record import Record
from rum.agent.script_file import script_argv
from rum.agent.settings import Settings
from rum.agent.spawn import NOT_EXECUTABLE, NOT_FOUND, Command, StartError
from rum.agent.waits import Wait
from rum.protocol.frames import Kind
from rum.protocol.messages import Message
from rum.protocol.results import ProvisionResult
from rum.protocol.scripts import After, Mode, RunOn

SESSION_FILE = "session"


class Guest(NamedTuple):
    """What a run needs of the agent."""

    loop: Loop
    settings: Settings
    boot_id: str
    cache: ScriptCache
    ledger: Ledger


class Order(NamedTuple):
    """What was asked for. Two orders are the same where mode and every field of every script are."""

    mode: Mode
    scripts: list[CachedScript]


class Run:
    """Runs a plan. `on_end` is called once, after the result is in the record."""

    def __init__(self, guest: Guest, run_id: str, order: Order, plan: Plan, *, trigger: str) -> None:
        self.run_id = run_id
        self.order = order
        self.trigger = trigger
        self.on_end: Callable[[], None] = lambda: None
        self._guest = guest
        self._plan = plan
        self._dir = os.path.join(guest.settings.runs_dir, run_id)
        self.record = Record(self._dir)
        self._first_boot = not guest.ledger.system_provisioned
        self._index = 0
        self._wait: Wait | None = None
        self._process: Process | None = None
        self._gatherer = Gatherer(guest.loop, self.record.output)
        self._stopped_as: str | None = None
        self._passed_system: set[str] = set()
        self._unrecorded = False

    @property
    def current(self) -> CachedScript | None:
        """The script that is running or waited for."""
        return self._plan.run[self._index - 1] if self._index else None

    @property
    def position(self) -> dict[str, object]:
        """The `run` of a `status`."""
        return {
            "run_id": self.run_id,
            "trigger": self.trigger,
            "script": self.current.name if self.current else None,
            "index": self._index,
            "total": len(self._plan.run),
        }

    def begin(self) -> None:
        """Start. Everything else follows from the loop."""
        self.record.message(
            {
                "type": "run_started",
                "run_id": self.run_id,
                "boot_id": self._guest.boot_id,
                "first_boot": self._first_boot,
                "trigger": self.trigger,
                "scripts": [script.name for script in self._plan.run],
                "skipped": self._plan.skipped,
            }
        )
        self._end_first_boot_if_due()
        self._next()

    def stop(self, reason: str) -> None:
        """End the run as "cancelled" or "interrupted", once its processes are gone."""
        self._stopped_as = self._stopped_as or reason
        if self._process:
            self._process.stop()
        elif self._wait:
            self._wait.cancel()
            self._finish(self.current, None)

    def _next(self) -> None:
        if self._index == len(self._plan.run):
            self._finish(None, None)
            return
        self._index += 1
        script = self._plan.run[self._index - 1]
        self._wait = Wait(self._guest.loop, self._guest.settings, script.after)
        self._wait.begin(self._announce_wait, lambda warning: self._start(script, warning))

    def _announce_wait(self, target: After) -> None:
        self.record.message({"type": "waiting", "for": target.value})

    def _start(self, script: CachedScript, warning: str | None) -> None:
        self._wait = None
        if warning:
            self._warn("wait-timeout", warning)
        self.record.message(
            {
                "type": "script_started",
                "name": script.name,
                "order": script.order,
                "run_on": script.run_on.value,
                "index": self._index,
                "total": len(self._plan.run),
                "timestamp_us": time.time_ns() // 1000,
            }
        )
        try:
            self._keep(lambda: self._guest.ledger.note_start(script))
            self._spawn(script)
        except StartError as exc:
            self.record.output(Kind.STDERR, time.time_ns() // 1000, f"rum-agent: {exc}\n".encode())
            self._ended(script, Ending(exc.exit_code, None, timed_out=False, duration_ms=0))

    def _spawn(self, script: CachedScript) -> None:
        """Start the script's process. Raises StartError."""
        label = f"{self.run_id}.{self._index}"
        held = contain(self._guest.settings, os.path.join(self._dir, SESSION_FILE), label)
        descriptors: list[int] = []
        pumps: list[Pump] = []
        try:
            command = self._command(script)
            held.prepare()
            descriptors.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
            for kind in (Kind.STDOUT, Kind.STDERR):
                pump, writer = self._open_stream(label, kind)
                pumps.append(pump)
                descriptors.append(writer)
            standard = (descriptors[0], descriptors[1], descriptors[2])
            self._process = start(
                self._guest.loop, command, standard, held, pumps, lambda ending: self._ended(script, ending)
            )
            self._process.limit(script.timeout_s)
        except (OSError, StartError) as exc:
            for pump in pumps:
                pump.close()
            held.remove()
            raise exc if isinstance(exc, StartError) else StartError(NOT_EXECUTABLE, f"cannot start: {exc}") from exc
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _command(self, script: CachedScript) -> Command:
        try:
            path = self._guest.cache.content_path(script)
        except OSError as exc:
            raise StartError(NOT_FOUND, f"cannot start: {exc}") from exc
        environment = {
            "RUM_SCRIPT": script.name,
            "RUM_RUN_ON": script.run_on.value,
            "RUM_FIRST_BOOT": "1" if self._first_boot else "0",
            **script.env,
        }
        return Command(script_argv(path), environment)

    def _open_stream(self, label: str, kind: Kind) -> tuple[Pump, int]:
        directory = self._guest.settings.fifo_dir
        os.makedirs(directory, mode=0o700, exist_ok=True)
        pump, writer = open_fifo(self._guest.loop, os.path.join(directory, f"{label}.{kind.name.lower()}"))
        pump.on_data = lambda data: self._gatherer.take(kind, data)
        return pump, writer

    def _ended(self, script: CachedScript, ending: Ending) -> None:
        self._process = None
        self._gatherer.flush()
        self.record.end_of_output(script.name)
        if script.run_on is RunOn.SYSTEM and ending.passed and not self._stopped_as:
            # It will never run again, so what it has written must be as durable as the note of that.
            self._sync(lambda: self._conclude(script, ending))
        else:
            self._conclude(script, ending)

    def _sync(self, then: Callable[[], None]) -> None:
        def done(failure: str | None) -> None:
            if failure:
                self._lose(f"the guest could not store what the script has written: {failure}")
            then()

        try:
            DiskSync(self._guest.loop, done)
        except OSError as exc:
            done(str(exc.strerror))

    def _conclude(self, script: CachedScript, ending: Ending) -> None:
        outcome = {"exit_code": ending.exit_code, "signal": ending.signal, "timed_out": ending.timed_out}
        passed = ending.passed and not self._stopped_as
        identity = {"run_id": self.run_id, "boot_id": self._guest.boot_id, "sha256": script.sha256}
        # Before anybody is told: what was told to have passed must not run again, whenever the agent is killed.
        self._keep(lambda: self._guest.ledger.note_end(script, {**identity, **outcome}, passed=passed))
        self.record.milestone(
            {"type": "script_exited", "name": script.name, **outcome, "duration_ms": ending.duration_ms}
        )
        if not passed:
            self._finish(script, ending)
            return
        if script.run_on is RunOn.SYSTEM:
            self._passed_system.add(script.name)
            self._end_first_boot_if_due()
        self._next()

    def _end_first_boot_if_due(self) -> None:
        """Write the sentinel as soon as every System script that was sent has passed in this run."""
        ledger = self._guest.ledger
        system = {script.name for script in self.order.scripts if script.run_on is RunOn.SYSTEM}
        decides = self.order.mode in (Mode.AUTO, Mode.ALL)
        if decides and system <= self._passed_system and not ledger.system_provisioned and not self._lost_something:
            self._keep(lambda: ledger.write_sentinel(self._guest.settings.vm_id, self.run_id))

    @property
    def _lost_something(self) -> bool:
        return self._unrecorded or self.record.failure is not None

    def _keep(self, write: Callable[[], None]) -> None:
        """Write something durable; where that fails the run goes on, but says so and does not count as a success."""
        try:
            write()
        except OSError as exc:
            self._lose(f"the guest could not record what has run: {exc.strerror}")

    def _lose(self, why: str) -> None:
        if not self._unrecorded:
            self._warn("not-recorded", why)
        self._unrecorded = True

    def _warn(self, code: str, text: str) -> None:
        self.record.message({"type": "warning", "code": code, "message": text})

    def _finish(self, failed: CachedScript | None, ending: Ending | None) -> None:
        self._warn_if_incomplete()
        if not self.record.try_result(self._result(failed, ending)):
            self._warn_if_incomplete()
            self.record.try_result(self._result(failed, ending))
        self.on_end()

    def _warn_if_incomplete(self) -> None:
        if self.record.failure is not None:
            self._warn("not-recorded", f"the guest could not record the whole run: {self.record.failure.strerror}")

    def _result(self, failed: CachedScript | None, ending: Ending | None) -> Message:
        cached = self._guest.cache.scripts
        result = ProvisionResult(
            success=failed is None and not self._lost_something and not self._stopped_as,
            run_id=self.run_id,
            failed_script=failed.name if failed else None,
            exit_code=ending.exit_code if ending else None,
            signal=ending.signal if ending else None,
            timed_out=bool(ending and ending.timed_out),
            cancelled=self._stopped_as == "cancelled",
            interrupted=self._stopped_as == "interrupted",
            first_boot=self._first_boot,
            ran=[script.name for script in self._plan.run[: self._index] if script is not failed or ending],
            skipped=self._plan.skipped,
            changed=changed_scripts(cached, self._guest.ledger),
            system_provisioned=self._guest.ledger.system_provisioned,
        )
        return {"type": "result", **result._asdict()}
