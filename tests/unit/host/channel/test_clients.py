"""The host's side of clients that come and go: an agent that falls silent, and commands that meet."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from rum.host.channel import client
from rum.host.channel.client import open_agent
from rum.host.deadlines import Deadline
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome
from rum.host.runs.provisioning import Provisioning
from rum.host.runs.runreader import RunReader
from rum.host.up import provisioned
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml, wait_until


class Up(threading.Thread):
    """A `rum up` beside the test. Interrupts are not for threads, so its end is the run's."""

    def __init__(self, guest: LocalGuest) -> None:
        super().__init__()
        self.seen = Seen()
        self.outcome: Outcome | None = None
        self._guest = guest
        self.start()

    def run(self) -> None:
        self.outcome = in_thread(self._guest, self.seen)

    def ended(self) -> Outcome:
        self.join(30)
        assert self.outcome, "rum up did not end"
        return self.outcome


def in_thread(guest: LocalGuest, seen: Seen) -> Outcome:
    """What `provisioned` does, without its handler for SIGINT."""
    with closing(RunReader(guest, seen, FirstInterrupt())) as reader:
        return Provisioning(reader, guest.config.scripts, "rum up").auto()


def up(guest: LocalGuest) -> tuple[Outcome, Seen]:
    seen = Seen()
    return provisioned(guest, seen, "rum up", Provisioning.auto, time.monotonic()), seen


def gated(gate: Path, before: str = "echo before", after: str = "echo after") -> str:
    return f"{before}; until [ -e {gate} ]; do sleep 0.02; done; {after}"


def runs_in(guest: LocalGuest) -> bool:
    with open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(10)) as connection:
        return connection.call("status")["run"] is not None


def test_an_agent_that_falls_silent_is_lost_and_read_on_once_it_speaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PEER_LOST_S", 0.5)
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_toml("one", gated(gate))) as guest:
        assert guest.process
        command = Up(guest)
        wait_until(lambda: b"before\n" in command.seen.output(), "the script has begun")
        guest.process.send_signal(signal.SIGSTOP)
        try:
            wait_until(lambda: any("silent for" in text for text in command.seen.notices()), "the silence is noticed")
        finally:
            guest.process.send_signal(signal.SIGCONT)
        monkeypatch.setattr(client, "PEER_LOST_S", 15.0)
        gate.touch()
        assert command.ended().exit == 0
        assert command.seen.output() == b"before\nafter\n"
        assert command.seen.types().count("run_started") == 1


def test_two_commands_at_once_both_end_right_and_nothing_runs_twice(tmp_path: Path) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"
    script = gated(gate, f"echo x >> {count}")
    with local_guest(tmp_path, script_toml("one", script) + script_toml("two", script, run_on="boot")) as guest:
        commands = [Up(guest), Up(guest), Up(guest)]
        wait_until(lambda: all(command.seen.types() for command in commands), "all of them see the run")
        gate.touch()
        assert [command.ended().exit for command in commands] == [0, 0, 0]
        assert count.read_text(encoding="ascii") == "x\nx\n"
        outputs = {command.seen.output() for command in commands}
        assert outputs == {b"after\nafter\n"}


def test_up_while_the_boot_scripts_run_by_themselves(tmp_path: Path) -> None:
    gate, count = tmp_path / "gate", tmp_path / "count"
    gate.touch()
    with local_guest(tmp_path, script_toml("one", gated(gate, f"echo x >> {count}"), run_on="boot")) as guest:
        assert up(guest)[0].exit == 0
        guest.stop()
        gate.unlink()
        guest.new_boot()
        guest.start()
        wait_until(lambda: runs_in(guest), "the boot scripts run by themselves")
        command = Up(guest)
        wait_until(lambda: "script_started" in command.seen.types(), "it sees the run")
        gate.touch()
        assert command.ended().exit == 0
        assert command.seen.output() == b"after\n"
        assert count.read_text(encoding="ascii") == "x\nx\n"


def test_a_changed_script_waits_for_the_autonomous_run_and_runs_after_it(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate.touch()
    with local_guest(tmp_path, script_toml("one", gated(gate), run_on="boot")) as guest:
        assert up(guest)[0].exit == 0
        guest.stop()
        gate.unlink()
        guest.new_boot()
        guest.start()
        wait_until(lambda: runs_in(guest), "the boot scripts run by themselves")
        with local_guest(tmp_path, script_toml("one", "echo changed", run_on="boot"), started=False) as edited:
            guest.config = edited.config
        command = Up(guest)
        wait_until(lambda: "script_started" in command.seen.types(), "it sees the run")
        gate.touch()
        assert command.ended().exit == 0
        assert command.seen.output() == b"before\nafter\nchanged\n"
