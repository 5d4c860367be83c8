"""`rum wait`, with the real agent and a VM that is only played."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from rum.host import up as story
from rum.host.errors import GuestError
from rum.host.events import Phase
from rum.host.outcome import Outcome
from rum.host.vm.machine import Machine
from rum.host.wait import AGENT, PROVISIONED, Goal, WaitTimeoutError, healthy, passes, wait
from rum.protocol import Mode
from tests.unit.host.cli.in_process import Cli, rum_here
from tests.unit.host.cli.test_commands import command, json_lines, read_up_to
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml
from tests.unit.host.test_health import healthcheck, up
from tests.unit.host.test_up import PlayedMachine

__all__ = ["rum_here"]

SHORT_S = 0.3
LONG_S = 60.0


def waited(guest: LocalGuest, *goals: Goal, timeout_s: float = LONG_S) -> Outcome:
    return wait(guest, Seen(), goals, timeout_s)


def in_vain(guest: LocalGuest, goal: Goal, said: str) -> WaitTimeoutError:
    """How a wait ends whose time is over; on a host that is busy it takes longer before this can be said."""
    for timeout_s in (SHORT_S, 10 * SHORT_S, LONG_S):
        with pytest.raises(WaitTimeoutError) as caught:
            waited(guest, goal, timeout_s=timeout_s)
        if re.search(said, str(caught.value)):
            return caught.value
    raise AssertionError(f"{said!r} is not in {caught.value}")


@contextlib.contextmanager
def in_background(guest: LocalGuest, *goals: Goal) -> Iterator[Future[Outcome]]:
    """A wait that goes on meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(waited, guest, *goals)


@contextlib.contextmanager
def running_up(guest: LocalGuest) -> Iterator[subprocess.Popen[bytes]]:
    """`rum up` whose script has begun; its end is waited for."""
    with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        read_up_to(process.stdout, b"slow | begun\n")
        yield process
        process.communicate(timeout=LONG_S)


def gate_toml(gate: Path, *, then: str = "exit 0") -> str:
    """A script that ends when a file appears."""
    return script_toml("slow", f"echo begun; while ! [ -e '{gate}' ]; do sleep 0.02; done; {then}")


class TestAgent:
    def test_one_that_answers_is_enough(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            assert waited(guest, AGENT).text == "VM demo has an agent that answers"

    def test_a_vm_that_does_not_run_yet_is_waited_for(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, started=False) as guest:
            guest.running = False
            with in_background(guest, AGENT) as waiting:
                guest.start()
                assert not waiting.done()
                guest.running = True
                assert waiting.result(LONG_S).exit == 0

    def test_time_is_over_with_what_was_seen_last(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, started=False) as guest:
            with pytest.raises(WaitTimeoutError, match=r"waited 0\.3 s for VM demo in vain: its agent does not answer"):
                waited(guest, AGENT, timeout_s=SHORT_S)
            guest.running = False
            with pytest.raises(WaitTimeoutError, match="in vain: it is stopped"):
                waited(guest, AGENT, timeout_s=SHORT_S)

    def test_a_vm_that_cannot_boot_is_not_waited_for(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, started=False) as guest:
            guest.paths.console_log.write_text("Kernel panic - not syncing: VFS\n", encoding="utf-8")
            with pytest.raises(GuestError, match="cannot boot") as caught:
                waited(guest, AGENT)
            assert not isinstance(caught.value, WaitTimeoutError)


class TestProvisioned:
    def test_what_has_passed_is_no_wait(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, script_toml("one", "true") + script_toml("two", "true", run_on="boot")) as guest:
            up(guest)
            assert waited(guest, PROVISIONED).text == "VM demo is provisioned"

    def test_it_waits_for_a_host_that_has_not_come_yet_and_for_its_run(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with (
            local_guest(tmp_path, gate_toml(gate)) as guest,
            in_background(guest, PROVISIONED) as waiting,
            running_up(guest),
        ):
            assert not waiting.done()
            gate.touch()
            assert waiting.result(LONG_S).exit == 0

    def test_a_run_that_fails_ends_it_at_once_with_its_sentence(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, script_toml("bad", "echo why; exit 7")) as guest:
            up(guest)
            outcome = waited(guest, PROVISIONED)
        assert (outcome.exit, outcome.code, outcome.tail) == (1, "script-failed", ("why",))
        assert outcome.text.startswith("script 'bad' failed with exit code 7 after ")

    def test_so_does_one_that_fails_meanwhile(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with (
            local_guest(tmp_path, gate_toml(gate, then="exit 3")) as guest,
            running_up(guest),
            in_background(guest, PROVISIONED) as waiting,
        ):
            gate.touch()
            assert waiting.result(LONG_S).code == "script-failed"

    def test_a_run_that_somebody_cancels_is_no_success(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, gate_toml(tmp_path / "never")) as guest:
            with running_up(guest) as process:
                process.send_signal(signal.SIGINT)
            outcome = waited(guest, PROVISIONED)
        assert (outcome.exit, outcome.code) == (1, "cancelled")

    def test_a_run_that_was_interrupted_says_so(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, gate_toml(tmp_path / "never")) as guest:
            with running_up(guest) as process:
                process.kill()
            guest.stop()
            guest.start()
            with pytest.raises(GuestError, match="rebooted or its agent stopped while script 'slow' ran"):
                waited(guest, PROVISIONED)

    def test_after_a_reboot_the_boot_scripts_have_to_pass_again(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        waits = f"while ! [ -e '{gate}' ]; do sleep 0.02; done"
        with local_guest(tmp_path, script_toml("boot-2", waits, run_on="boot")) as guest:
            gate.touch()
            up(guest)
            guest.stop()
            gate.unlink()
            guest.new_boot()
            guest.start()
            in_vain(guest, PROVISIONED, r"run .* goes on, with boot-2")
            gate.touch()
            assert waited(guest, PROVISIONED).exit == 0

    def test_a_failure_of_an_earlier_boot_is_history(self, tmp_path: Path) -> None:
        marker = tmp_path / "once"
        text = f"test -e '{marker}' || {{ touch '{marker}'; exit 1; }}"
        with local_guest(tmp_path, script_toml("flaky", text, run_on="boot")) as guest:
            assert up(guest).exit == 1
            guest.stop()
            guest.new_boot()
            guest.start()
            assert waited(guest, PROVISIONED).exit == 0

    def test_what_up_takes_for_done_is_no_wait_whatever_the_latest_run_came_to(self, tmp_path: Path) -> None:
        marker = tmp_path / "broken"
        toml = script_toml("once", f"test ! -e '{marker}'") + script_toml("each", "true", order=60, run_on="boot")
        with local_guest(tmp_path, toml) as guest:
            assert up(guest).exit == 0
            marker.touch()
            machine = cast(Machine, PlayedMachine(guest))
            assert story.provision(machine, Seen(), Mode.SYSTEM).exit == 1
            assert (up(guest).exit, waited(guest, PROVISIONED).exit) == (0, 0)
            assert story.provision(machine, Seen(), Mode.BOOT).exit == 0

    def test_a_script_that_failed_and_is_gone_is_history(self, tmp_path: Path) -> None:
        good, bad = script_toml("good", "true"), script_toml("bad", "exit 7", order=60, run_on="boot")
        with local_guest(tmp_path, good + bad) as guest:
            assert (up(guest).exit, waited(guest, PROVISIONED).exit) == (1, 1)
            scripts = tuple(script for script in guest.config.scripts if script.name == "good")
            guest.config = dataclasses.replace(guest.config, scripts=scripts)
            assert (up(guest).exit, waited(guest, PROVISIONED).exit) == (0, 0)

    def test_time_is_over_where_nobody_provisions(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            in_vain(guest, PROVISIONED, "in vain: its first boot is not over")

    def test_what_it_reads_is_still_new_for_up(self, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        with local_guest(tmp_path, gate_toml(gate, then="exit 7")) as guest:
            with running_up(guest) as process:
                process.kill()
            gate.touch()
            assert waited(guest, PROVISIONED).exit == 1
            seen = Seen()
            assert up(guest, seen).exit == 1
            assert seen.output() == b"begun\n"


class TestCommand:
    def test_it_is_tried_until_it_ends_with_0(self, tmp_path: Path) -> None:
        with (
            local_guest(tmp_path) as guest,
            in_background(guest, Goal("ok", passes(f"test -e '{tmp_path}/x'"))) as done,
        ):
            (tmp_path / "x").touch()
            assert done.result(LONG_S).exit == 0

    def test_one_that_waits_itself_may(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            assert waited(guest, Goal("ok", passes("sleep 0.2"))).exit == 0

    def test_time_is_over_with_its_last_words(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            ended = in_vain(guest, Goal("ok", passes("echo no; exit 4")), "in vain: the last try: exit code 4")
            assert ended.tail == ("no",)
            in_vain(guest, Goal("ok", passes("exec sleep 600")), "the last try: no end within")


def test_healthy_is_provisioned_and_its_healthcheck(tmp_path: Path) -> None:
    marker = tmp_path / "healthy"
    with local_guest(tmp_path, healthcheck(f"test -e '{marker}'", "timeout_s = 0.1")) as guest:
        assert up(guest).code == "unhealthy"
        goals = (PROVISIONED, *healthy(guest.config.healthcheck))
        with in_background(guest, *goals) as waiting:
            assert not waiting.done()
            marker.touch()
            assert waiting.result(LONG_S).text == "VM demo is healthy"
    assert healthy(None) == []


def test_the_command_line(tmp_path: Path, rum_here: Cli) -> None:
    with local_guest(tmp_path, script_toml("bad", "echo why; exit 7")) as guest:
        lines = json_lines(rum_here(guest, "-o", "json", "wait", "--for", "test -d /").out.encode())
        assert [line.get("status") for line in lines] == ["started", "done", None]
        assert lines[-1]["ok"] is True
        done = rum_here(guest, "wait", "--for", "echo no; false", "--timeout", "1.2")
        assert "not yet: the last try: exit code 1: no" in done.lines
        up(guest)
        done = rum_here(guest, "wait")
        assert (done.status, done.err.splitlines()[1]) == (1, "  | why")
        done = rum_here(guest, "-o", "json", "wait", "--for", "false", "--timeout", "0.2")
        error = json_lines(done.out.encode())[-1]["error"]
        assert (done.status, error["code"]) == (4, "timed-out")
        assert rum_here(guest, "wait", "--for", " ").status == 2
        assert rum_here(guest, "wait", "--timeout", "0").status == 2


def test_it_shows_a_phase(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        seen = Seen()
        wait(guest, seen, [AGENT], LONG_S)
    assert [(event.name, event.status) for event in seen if isinstance(event, Phase)] == [
        ("wait", "started"),
        ("wait", "done"),
    ]
