"""What `up` and `provision` do with a real agent, over a connection that can be cut."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from rum.host.channel.client import AgentConnection, open_agent
from rum.host.channel.wire import script_to_json
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError
from rum.host.events import RunEvent
from rum.host.interrupts import FirstInterrupt
from rum.host.outcome import Outcome
from rum.host.runs.provisioning import Provisioning
from rum.host.runs.records import RunCopies
from rum.host.runs.runreader import RunReader
from rum.host.up import provisioned
from rum.protocol import Mode, encode_message
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml, wait_until


def up(guest: LocalGuest, seen: Seen) -> Outcome:
    return provisioned(guest, seen, "rum up", Provisioning.auto, time.monotonic())


def edit(guest: LocalGuest, toml: str) -> None:
    """Replace the scripts of rum.toml."""
    with local_guest(guest.directory, toml, started=False) as edited:
        guest.config = edited.config


class Background:
    """Something that runs beside the test, its error raised where it is joined."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self.result: object = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as exc:  # noqa: BLE001 - raised again by join
            self._error = exc

    def join(self) -> object:
        self._thread.join(20)
        assert not self._thread.is_alive()
        if self._error:
            raise self._error
        return self.result


def guest_connection(guest: LocalGuest) -> AgentConnection:
    return open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(10))


def open_gate(after: Background, gate: Path) -> None:
    after.join()
    gate.touch()


def wait_for_file(path: Path) -> None:
    wait_until(path.exists, str(path))


def test_all_scripts_pass_and_then_nothing_is_left_to_do(tmp_path: Path) -> None:
    toml = script_toml("one", "echo first; echo bad >&2") + script_toml("two", "echo second", order=60, run_on="boot")
    with local_guest(tmp_path, toml) as guest:
        seen = Seen()
        first = up(guest, seen)
        assert (first.exit, first.text.split(" (")[0]) == (0, "VM demo is up: 2 scripts passed")
        assert seen.output() == b"first\nsecond\n"
        assert seen.output("stderr") == b"bad\n"
        seen = Seen()
        second = up(guest, seen)
        assert (second.exit, second.text.split(" (")[0]) == (0, "VM demo is up: 2 needed no run")
        assert seen.output() == b""


def test_the_record_is_copied_byte_for_byte(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "seq 1 20000")) as guest:
        up(guest, Seen())
        [run_id] = RunCopies(guest.paths.runs).ids()
        copy = guest.paths.runs / f"{run_id}.rec"
        assert copy.read_bytes() == (guest.root / "var/lib/rum/runs" / run_id / "record").read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o600


def test_a_failed_script_is_named_with_how_it_ended_and_its_last_output(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("bad", "seq 1 30; echo why >&2; exit 7")) as guest:
        outcome = up(guest, Seen())
        assert outcome.exit == 1
        assert outcome.text.startswith("script 'bad' failed with exit code 7 after ")
        assert len(outcome.tail) == 20
        assert {"30", "why"} <= set(outcome.tail)
        assert outcome.hint == "fix it and run `rum up` again; the VM is still running"


def test_a_run_that_the_guest_cannot_record_is_no_success_and_no_scripts_fault(tmp_path: Path) -> None:
    in_the_way = tmp_path / "root/var/lib/rum/.tmp-state.json"
    with local_guest(tmp_path, script_toml("one", f"[ -e {tmp_path}/room ] || mkdir {in_the_way}")) as guest:
        outcome = up(guest, seen := Seen())
        assert (outcome.exit, outcome.code) == (1, "not-recorded")
        assert outcome.text == "every script has passed, but the guest could not record it"
        assert "make room" in (outcome.hint or "")
        assert "warning" in seen.types()
        in_the_way.rmdir()
        (tmp_path / "room").touch()
        assert up(guest, Seen()).exit == 0


def test_a_fixed_script_passes_at_the_next_up(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("bad", "exit 7")) as guest:
        assert up(guest, Seen()).exit == 1
        edit(guest, script_toml("bad", "exit 0"))
        assert up(guest, Seen()).exit == 0


def test_nothing_is_lost_or_doubled_when_the_connection_is_cut(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"seq 1 5000; while ! [ -e {gate} ]; do sleep 0.05; done; seq 5001 10000"
    with local_guest(tmp_path, script_toml("long", script)) as guest:
        assert guest.proxy
        seen = Seen()
        guest.proxy.cut_after = 20_001
        opener = Background(
            lambda: wait_until(lambda: any("connecting again" in text for text in seen.notices()), "loss")
        )
        letter = Background(lambda: open_gate(opener, gate))
        outcome = up(guest, seen)
        letter.join()
        assert outcome.exit == 0
        assert seen.output() == b"".join(b"%d\n" % number for number in range(1, 10001))
        assert seen.types().count("run_started") == 1
        [run_id] = RunCopies(guest.paths.runs).ids()
        record = guest.root / "var/lib/rum/runs" / run_id / "record"
        assert (guest.paths.runs / f"{run_id}.rec").read_bytes() == record.read_bytes()


def leave_in_mid_script(guest: LocalGuest, started: Path) -> None:
    """Start provisioning as a `rum up` does that is killed in mid-script."""
    reader = RunReader(guest, Seen(), FirstInterrupt())
    with guest_connection(guest) as connection:
        params = {"scripts": [script_to_json(script) for script in guest.config.scripts], "mode": "auto"}
        connection.send_request("provision", params)
        wait_for_file(started)
    assert reader.copies.ids() == []


def test_a_failure_that_nobody_saw_is_shown_whole_and_is_the_result(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    text = f"echo before; touch {started}; while ! [ -e {gate} ]; do sleep 0.05; done; echo after; exit 3"
    with local_guest(tmp_path, script_toml("late", text)) as guest:
        leave_in_mid_script(guest, started)
        gate.touch()
        [run] = (guest.root / "var/lib/rum/runs").iterdir()
        wait_until(lambda: b'"result"' in (run / "record").read_bytes(), "the end of the run")
        seen = Seen()
        outcome = up(guest, seen)
        assert (outcome.exit, seen.output()) == (1, b"before\nafter\n")
        assert all(event.replayed for event in seen if isinstance(event, RunEvent))
        assert seen.types().count("run_started") == 1
        gate.unlink()
        started.unlink()
        gate.touch()
        again = Seen()
        assert up(guest, again).exit == 1
        assert again.types().count("run_started") == 1
        assert not any(event.replayed for event in again if isinstance(event, RunEvent))


def test_a_run_that_goes_on_is_shown_from_its_start_and_followed(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    text = f"echo before; touch {started}; while ! [ -e {gate} ]; do sleep 0.05; done; echo after"
    with local_guest(tmp_path, script_toml("late", text)) as guest:
        leave_in_mid_script(guest, started)
        seen = Seen()
        second = Background(
            lambda: wait_until(lambda: any("from here live" in text for text in seen.notices()), "replay")
        )
        opener = Background(lambda: open_gate(second, gate))
        outcome = up(guest, seen)
        opener.join()
        assert (outcome.exit, seen.output()) == (0, b"before\nafter\n")
        replayed = [event.replayed for event in seen if isinstance(event, RunEvent)]
        assert replayed == sorted(replayed, reverse=True)
        assert set(replayed) == {True, False}


def test_a_run_that_is_interrupted_while_it_is_followed_is_told(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with local_guest(tmp_path, script_toml("late", f"touch {started}; sleep 60")) as guest:
        leave_in_mid_script(guest, started)
        seen = Seen()

        def reboot() -> None:
            wait_until(lambda: any("from here live" in text for text in seen.notices()), "replay")
            guest.stop()
            guest.start()

        rebooting = Background(reboot)
        with pytest.raises(GuestError, match="rebooted or its agent stopped while script 'late' ran") as caught:
            up(guest, seen)
        rebooting.join()
        assert caught.value.hint == "run `rum up` again"


def test_an_autonomous_boot_run_that_failed_is_the_result_once(tmp_path: Path) -> None:
    fine = tmp_path / "fine"
    fine.touch()
    with local_guest(tmp_path, script_toml("each", f"echo here; test -e {fine}", run_on="boot")) as guest:
        assert up(guest, Seen()).exit == 0
        guest.stop()
        guest.new_boot()
        fine.unlink()
        guest.start()
        seen = Seen()
        assert up(guest, seen).exit == 1
        assert seen.output() == b"here\n"
        fine.touch()
        assert up(guest, Seen()).exit == 0


def test_what_the_guest_has_run_by_itself_counts_as_passed_once_it_is_shown(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("each", "echo here", run_on="boot")) as guest:
        assert up(guest, Seen()).exit == 0
        guest.stop()
        guest.new_boot()
        guest.start()
        seen = Seen()
        assert up(guest, seen).text.split(" (")[0] == "VM demo is up: 1 script passed"
        assert seen.output() == b"here\n"
        assert up(guest, Seen()).text.split(" (")[0] == "VM demo is up: 1 needed no run"


def test_an_unseen_run_of_an_earlier_boot_is_only_mentioned(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with local_guest(tmp_path, script_toml("one", f"echo old; touch {started}; exit 1")) as guest:
        leave_in_mid_script(guest, started)
        [run] = (guest.root / "var/lib/rum/runs").iterdir()
        wait_until(lambda: b'"result"' in (run / "record").read_bytes(), "the end of the run")
        guest.stop()
        guest.new_boot()
        guest.start()
        seen = Seen()
        assert up(guest, seen).exit == 1
        assert seen.output() == b"old\n"
        assert any("of an earlier boot did not pass unseen" in text for text in seen.notices())
        assert len(RunCopies(guest.paths.runs).ids()) == 2


def test_the_agent_killed_in_mid_script_is_an_interruption_that_says_what_ran(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("long", "echo shown; sleep 60")) as guest:
        seen = Seen()

        def crash() -> None:
            wait_until(lambda: seen.output() == b"shown\n", "the output")
            guest.stop(kill=True)
            guest.start()

        crasher = Background(crash)
        with pytest.raises(GuestError, match="while script 'long' ran"):
            up(guest, seen)
        crasher.join()


def test_a_guest_that_is_reset_before_the_run_is_on_its_disk_is_told(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("long", "echo shown; sleep 5")) as guest:
        seen = Seen()

        def reset() -> None:
            wait_until(lambda: seen.output() == b"shown\n", "the output")
            guest.stop(kill=True)
            shutil.rmtree(guest.root / "var/lib/rum/runs")
            guest.new_boot()
            guest.start()

        resetting = Background(reset)
        with pytest.raises(GuestError, match="the guest was reset while script 'long' ran, and has kept") as caught:
            up(guest, seen)
        resetting.join()
        assert "again" in str(caught.value.hint)


@pytest.mark.parametrize(("script", "status"), [("echo ran", 0), ("echo ran; exit 5", 1)])
def test_a_run_that_was_lost_before_it_had_a_name_is_not_run_twice(tmp_path: Path, script: str, status: int) -> None:
    with local_guest(tmp_path, script_toml("one", script)) as guest:
        assert guest.proxy
        with guest_connection(guest) as connection:
            welcome_size = len(encode_message(connection.welcome))
        # The third connection of `up` provisions; it is cut within the first event.
        proxy = guest.proxy
        proxy.cut_connection, proxy.cut_after = proxy.connections + 3, 68 + welcome_size + 8 + 9
        seen = Seen()
        assert up(guest, seen).exit == status
        assert not proxy.cut_after
        assert seen.output() == b"ran\n"
        assert len(list((guest.root / "var/lib/rum/runs").iterdir())) == 1


def test_a_vm_that_dies_in_mid_script_is_told_at_once(tmp_path: Path) -> None:
    seen = Seen()
    with local_guest(tmp_path, script_toml("long", "sleep 60")) as guest:

        def die() -> None:
            wait_until(lambda: "script_started" in seen.types(), "the script's start to be seen")
            guest.running = False
            guest.stop(kill=True)

        dying = Background(die)
        with pytest.raises(GuestError, match="VM demo stopped while script 'long' ran") as caught:
            up(guest, seen)
        dying.join()
        assert caught.value.tail == ("Linux version", "login:")


def test_another_run_is_waited_for_and_shown(tmp_path: Path) -> None:
    started, gate = tmp_path / "started", tmp_path / "gate"
    text = f"touch {started}; while ! [ -e {gate} ]; do sleep 0.05; done; echo theirs"
    with local_guest(tmp_path, script_toml("one", text)) as guest:
        leave_in_mid_script(guest, started)
        edit(guest, script_toml("one", "echo ours"))
        seen = Seen()
        waiter = Background(lambda: wait_until(lambda: any("busy" in text for text in seen.notices()), "busy"))
        opener = Background(lambda: open_gate(waiter, gate))
        with FirstInterrupt() as interrupt:
            reader = RunReader(guest, seen, interrupt)
            outcome = Provisioning(reader, guest.config.scripts, "rum up").selected(Mode.SYSTEM)
        opener.join()
        assert (outcome.exit, seen.output()) == (0, b"theirs\nours\n")


def test_an_edited_system_script_is_announced_and_applied_on_demand(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "echo old")) as guest:
        assert up(guest, Seen()).exit == 0
        edit(guest, script_toml("one", "echo new"))
        seen = Seen()
        assert up(guest, seen).exit == 0
        assert (
            "one has changed since the first boot and did not run; `rum provision --system` applies it"
            in seen.notices()
        )
        seen = Seen()
        begun = time.monotonic()
        outcome = provisioned(guest, seen, "rum provision --system", lambda work: work.selected(Mode.SYSTEM), begun)
        assert (outcome.exit, seen.output()) == (0, b"new\n")


def test_the_first_interrupt_cancels_the_run_and_the_vm_is_kept(tmp_path: Path) -> None:
    started, gone = tmp_path / "started", tmp_path / "gone"
    text = f"trap 'touch {gone}; exit 1' TERM; touch {started}; while :; do sleep 0.05; done"
    with local_guest(tmp_path, script_toml("long", text)) as guest:
        seen = Seen()

        def press() -> None:
            wait_for_file(started)
            os.kill(os.getpid(), signal.SIGINT)

        presser = Background(press)
        outcome = up(guest, seen)
        presser.join()
        assert (outcome.exit, outcome.code) == (130, "interrupted")
        assert gone.exists()
        assert "still running" in str(outcome.hint)


# It may come between the opening of a file and its `with`; the command's process would end thereby.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    started = tmp_path / "started"
    with local_guest(
        tmp_path, script_toml("long", f"trap '' TERM; touch {started}; while :; do sleep 0.05; done")
    ) as guest:
        seen = Seen()

        def press() -> None:
            wait_for_file(started)
            os.kill(os.getpid(), signal.SIGINT)
            wait_until(lambda: any("cancelling" in text for text in seen.notices()), "the first one to be seen")
            os.kill(os.getpid(), signal.SIGINT)

        presser = Background(press)
        with pytest.raises(KeyboardInterrupt):
            up(guest, seen)
        presser.join()
