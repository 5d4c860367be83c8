"""`rum logs`: which run, which part of it, until when."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from e2e.json_lines import checked
from rum.host.runs.records import RunCopies
from rum.host.store import VmLock
from tests.unit.host.cli.in_process import Cli, Ended, rum_here
from tests.unit.host.cli.test_commands import command, without_times
from tests.unit.host.local_guest import TIMEOUT_S, LocalGuest, Seen, local_guest, script_toml

__all__ = ["rum_here"]

TWO = script_toml("one", "echo first") + script_toml("two", "echo second; exit 4", order=60)
TEXT = script_toml("one", "echo text")


def gated(gate: Path, *, run_on: str = "system") -> str:
    """A script that goes on once the gate is there."""
    return script_toml("one", f"echo a; while ! [ -e {gate} ]; do sleep 0.05; done; echo b", run_on=run_on)


def ids(guest: LocalGuest) -> list[str]:
    return sorted(path.name for path in (guest.root / "var/lib/rum/runs").iterdir())


def forget_copies(guest: LocalGuest) -> None:
    """As if nobody had read anything."""
    for copy in guest.paths.runs.glob("*"):
        copy.unlink()


def shown(ended: Ended) -> list[str]:
    return without_times(ended.out.encode()).splitlines()


def events(text: str | list[str]) -> list[dict[str, Any]]:
    return [checked(line) for line in (text.splitlines() if isinstance(text, str) else text)]


class Lines:
    """A command that goes on, read line by line."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        self.process = process
        self.out: IO[bytes] = process.stdout

    def up_to(self, text: str) -> list[str]:
        """The lines up to the first that holds the text; an end without it is the test's failure."""
        seen = []
        for line in iter(self.out.readline, b""):
            seen.append(line.decode().rstrip("\n"))
            if text in seen[-1]:
                return seen
        raise AssertionError(f"{text!r} never came; seen: {seen}")

    def end(self) -> tuple[int, list[str]]:
        """The exit status and the remaining lines."""
        rest = self.out.read().decode().splitlines()
        return self.process.wait(TIMEOUT_S), rest


@contextmanager
def going_on(guest: LocalGuest, *arguments: str) -> Iterator[Lines]:
    """A command of its own process, killed at the block's end."""
    with subprocess.Popen(**command(guest, *arguments), stdout=subprocess.PIPE) as process:
        try:
            yield Lines(process)
        finally:
            process.kill()


class TestOneRun:
    def test_the_latest_one_under_a_header(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TWO) as guest:
            rum_here(guest, "up")
            lines = shown(rum_here(guest, "logs"))
            assert re.fullmatch(
                r"run \S+ \(trigger host, boot \w{8}, first boot\): one, two: 'two' failed with exit code 4", lines[0]
            )
            assert {"one | first", "two | second"} <= set(lines)
            only = rum_here(guest, "logs", "--script", "two").lines
            assert "two | second" in only
            assert "one | first" not in only
            run_id = lines[0].split()[1]
            guest.running = False
            assert shown(rum_here(guest, "logs", "--run", run_id)) == lines
            assert shown(rum_here(guest, "logs")) == lines
            unknown = rum_here(guest, "logs", "--run", "nosuch")
            assert (unknown.status, unknown.err) == (
                2,
                "rum: there is no run nosuch\nrum: `rum logs --list` shows which there are\n",
            )
            assert rum_here(guest, "logs", "--script", "nosuch").status == 2

    def test_by_the_beginning_of_its_id(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            for _ in range(2):
                rum_here(guest, "provision", "--all")
            forget_copies(guest)
            first, second = ids(guest)
            assert f"run {first} " in rum_here(guest, "logs", "--run", "000001").out
            assert RunCopies(guest.paths.runs).ids() == [first]
            both = rum_here(guest, "logs", "--run", "0000")
            assert both.status == 2
            assert both.err.startswith(f"rum: several runs begin with 0000: {first}, {second}\n")
            guest.running = False
            assert f"run {first} " in rum_here(guest, "logs", "--run", "0").out

    def test_an_old_one_that_is_read_late_does_not_become_the_latest(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            for _ in range(2):
                rum_here(guest, "provision", "--all")
            first, second = ids(guest)
            RunCopies(guest.paths.runs).path(first).unlink()
            rum_here(guest, "logs", "--run", first)
            assert RunCopies(guest.paths.runs).ids() == [second, first]
            guest.running = False
            assert f"run {second} " in rum_here(guest, "logs").out

    def test_one_that_goes_on(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, gated(tmp_path / "gate")) as guest, going_on(guest, "up") as up:
            up.up_to("one | a")
            header, *rest, last = rum_here(guest, "logs").lines
            assert header.endswith(": one: going on")
            assert "one | a" in rest
            assert last == f"run {ids(guest)[0]} goes on; `rum logs --follow` shows what is to come"
            with going_on(guest, "logs", "--follow", "--run", "000001") as logs:
                logs.up_to("one | a")
                (tmp_path / "gate").touch()
                status, lines = logs.end()
                assert (status, "one | b" in lines) == (0, True)

    def test_timestamps_begin_every_line_of_output(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, script_toml("one", "echo a; printf '10%%\\r100%%\\n'")) as guest:
            rum_here(guest, "up")
            lines = [line for line in rum_here(guest, "logs", "--timestamps").lines if line.startswith("one |")]
            assert [re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "T", line) for line in lines] == [
                "one | T a",
                "one | T 100%",
            ]
            plain = rum_here(guest, "logs", "-o", "json")
            assert rum_here(guest, "logs", "--timestamps", "-o", "json") == plain

    def test_json_is_the_runs_events_and_done(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TWO) as guest:
            rum_here(guest, "up")
            lines = events(rum_here(guest, "logs", "-o", "json", "--script", "two").out)
            kinds = [line["type"] for line in lines]
            assert kinds == ["notice", "run_started", "script_started", "output", "script_exited", "result", "done"]
            assert (lines[3]["text"], lines[-1]["exit"]) == ("second\n", 0)


def test_the_failed_script_of_the_latest_run_that_failed(tmp_path: Path, rum_here: Cli) -> None:
    failing = tmp_path / "failing"
    failing.touch()
    toml = script_toml("one", "echo first") + script_toml("two", f"echo why; ! [ -e {failing} ]", order=60)
    with local_guest(tmp_path, toml) as guest:
        assert rum_here(guest, "logs", "--failed").lines == ["no run of VM demo has failed"]
        rum_here(guest, "up")
        failing.unlink()
        rum_here(guest, "up")
        lines = shown(rum_here(guest, "logs", "--failed"))
        assert lines[0].endswith(": 'two' failed with exit code 1")
        assert lines[1:] == ["[2/2] two (system, order 60)", "two | why", "[2/2] two failed with exit code 1 (T)"]
        guest.running = False
        assert shown(rum_here(guest, "logs", "--failed")) == lines
        assert rum_here(guest, "logs", "--failed", "--run", "000002").out.endswith(" has passed\n")


class TestList:
    def test_runs_of_guest_and_host_in_one_list(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TWO) as guest:
            assert rum_here(guest, "logs", "--list").lines == ["VM demo has no run yet"]
            assert [line["type"] for line in events(rum_here(guest, "logs", "--list", "-o", "json").out)] == ["done"]
            rum_here(guest, "up")
            forget_copies(guest)
            rum_here(guest, "provision", "--all")
            first, second = ids(guest)
            heading, *rows = rum_here(guest, "logs", "--list").lines
            assert heading.split() == ["RUN", "STARTED", "TRIGGER", "BOOT", "TOOK", "RESULT"]
            assert [row.split()[0] for row in rows] == [first, second]
            assert all(row.endswith("'two' failed with exit code 4") and "(first)" in row for row in rows)
            one, two, done = events(rum_here(guest, "logs", "--list", "-o", "json").out)
            assert (one["in_guest"], one["on_host"], one["exit_code"], one["trigger"]) == (True, False, 4, "host")
            assert (two["in_guest"], two["on_host"], done["exit"]) == (True, True, 0)
            guest.running = False
            [line, _] = events(rum_here(guest, "logs", "--list", "-o", "json").out)
            assert line == {**two, "in_guest": False}

    def test_of_an_earlier_vm_of_the_same_name(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path / "old", script_toml("one", "echo old")) as guest:
            rum_here(guest, "up")
            old = ids(guest)
            kept = [(path.name, path.read_bytes()) for path in guest.paths.runs.iterdir()]
        with local_guest(tmp_path / "new", script_toml("one", "echo new")) as guest:
            guest.paths.runs.mkdir()
            for name, data in kept:
                (guest.paths.runs / name).write_bytes(data)
            rum_here(guest, "up")
            lines = events(rum_here(guest, "logs", "--list", "-o", "json").out)
            assert [line.get("run_id") for line in lines] == [*old, *ids(guest), None]
            assert "one | new" in rum_here(guest, "logs").lines
            assert "one | old" in rum_here(guest, "logs", "--run", old[0]).lines

    def test_a_guest_that_does_not_answer_hides_no_copies(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            rum_here(guest, "up")
            guest.the_key = bytes(32)
            done = rum_here(guest, "logs", "--list")
            assert (done.status, done.out.count("passed")) == (0, 1)
            assert "what follows is from the host's copies" in done.err

    def test_copies_that_are_garbled_are_named_and_hurt_nobody(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            rum_here(guest, "up")
            [whole] = guest.paths.runs.glob("*.rec")
            data = whole.read_bytes()
            wrong = [data.replace(b'"host"', b"[[[[]]"), data.replace(b'["one"]', b"1234567")]
            for number, damage in enumerate((b"", b"\0", data[:40], b"\xff" * 100, *wrong)):
                (guest.paths.runs / f"00000{number}-abcdef.rec").write_bytes(damage)
            guest.running = False
            done = rum_here(guest, "logs", "--list")
            assert (done.status, done.err) == (0, "")
            assert (done.out.count("damaged copy"), done.out.count("passed")) == (6, 1)
            for number in range(6):
                ended = rum_here(guest, "logs", "--run", f"00000{number}-abcdef")
                assert ended.status in (0, 4)
                assert "bug" not in ended.err


def test_status_does_not_read_what_a_run_has_printed_so_far(
    tmp_path: Path, rum_here: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_guest(tmp_path, gated(tmp_path / "gate")) as guest, going_on(guest, "up") as up:
        up.up_to("one | a")
        # It would look for the run, and fetch all of it.
        monkeypatch.setattr("rum.host.runs.logs.RunFinder", None)
        [status] = events(rum_here(guest, "-o", "json", "status").lines)
        assert (status["last_run"]["run_id"], status["last_run"]["running"]) == (ids(guest)[0], True)


class TestFollow:
    def test_a_run_that_comes_a_reboot_and_the_end_of_the_vm(self, tmp_path: Path, rum_here: Cli) -> None:
        toml = script_toml("one", "echo text", run_on="boot")
        with (
            local_guest(tmp_path, toml) as guest,
            going_on(guest, "logs", "-f") as logs,
            going_on(guest, "logs", "-f", "-o", "json") as other,
        ):
            assert logs.up_to("waiting for one") == ["VM demo has no run yet; waiting for one"]
            lines = other.up_to("waiting for one")
            assert rum_here(guest, "up").status == 0
            first = logs.up_to(": passed")
            assert first[0].endswith("first boot): one")
            assert "one | text" in first
            guest.stop()
            guest.new_boot()
            guest.start()
            second = logs.up_to(": passed")
            assert re.fullmatch(r"run 000002-\w+ \(trigger boot, boot \w{8}\): one", second[0])
            assert second.count("one | text") == 1
            lines += other.up_to(": passed") + other.up_to(": passed")
            (tmp_path / "off").touch()
            guest.stop()
            assert logs.end() == (0, ["VM demo is stopped"])
            status, rest = other.end()
            kinds = [line["type"] for line in events(lines + rest)]
            assert (status, kinds.count("run_started"), kinds.count("output"), kinds[-1]) == (0, 2, 2, "done")
            assert sorted(RunCopies(guest.paths.runs).ids()) == ids(guest)

    def test_one_that_goes_on_from_its_start_and_then_others_until_ctrl_c(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, gated(tmp_path / "gate")) as guest, going_on(guest, "up") as up:
            up.up_to("one | a")
            with going_on(guest, "logs", "--follow", "--script", "one") as logs:
                logs.up_to("one | a")
                (tmp_path / "gate").touch()
                assert "one | b" in logs.up_to(": passed")
                rum_here(guest, "provision", "--system")
                assert "one | b" in logs.up_to(": passed")
                logs.process.send_signal(signal.SIGINT)
                assert logs.end()[0] == 130

    def test_a_killed_follower_and_a_killed_agent_lose_nothing(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, gated(tmp_path / "gate", run_on="boot")) as guest, going_on(guest, "up"):
            with going_on(guest, "logs", "-f") as first, going_on(guest, "logs", "-f") as second:
                for logs in (first, second):
                    logs.up_to("one | a")
                first.process.kill()
                guest.stop(kill=True)
                guest.start()
                assert "one | a" not in second.up_to(": interrupted")
            with going_on(guest, "logs", "-f") as third:
                assert third.up_to(": interrupted").count("one | a") == 1

    @pytest.mark.parametrize("off", [False, True], ids=["reset", "started-anew"])
    def test_a_run_that_a_reset_guest_has_lost_is_said_and_the_next_one_shown(
        self, tmp_path: Path, rum_here: Cli, off: bool
    ) -> None:
        gate = tmp_path / "gate"
        gate.touch()
        with local_guest(tmp_path, gated(gate, run_on="boot")) as guest, going_on(guest, "logs", "-f") as logs:
            rum_here(guest, "up")
            logs.up_to(": passed")
            gate.unlink()
            with going_on(guest, "provision", "--boot"):
                logs.up_to("one | a")
            with VmLock(guest.paths.lock).hold(Seen()):
                if off:
                    (tmp_path / "off").touch()
                guest.stop(kill=True)
                shutil.rmtree(guest.root / "var/lib/rum/runs" / ids(guest)[-1])
                guest.new_boot()
                gate.touch()
                guest.start()
                (tmp_path / "off").unlink(missing_ok=True)
            lines = logs.up_to(": passed")
            assert [line.split()[1] for line in lines if "(trigger" in line] == ids(guest)[-1:]

    def test_nobody_reading_ends_it_also_while_nothing_is_printed(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            rum_here(guest, "up")
            with going_on(guest, "logs", "--follow") as logs:
                logs.up_to(": passed")
                logs.out.close()
                assert logs.process.wait(TIMEOUT_S) == 141

    def test_a_vm_that_is_off_is_not_waited_for(self, tmp_path: Path, rum_here: Cli) -> None:
        with local_guest(tmp_path, TEXT) as guest:
            rum_here(guest, "up")
            guest.running = False
            done = rum_here(guest, "logs", "--follow")
            assert (done.status, done.lines[-1]) == (0, "VM demo is stopped")
            assert "one | text" in done.lines


def test_the_console_and_what_comes_on_it(tmp_path: Path, rum_here: Cli) -> None:
    with local_guest(tmp_path) as guest, guest.paths.console_log.open("ab", buffering=0) as log:
        log.write(b"\x1b[32mgreen\x1b[0m\r\n\r\nlogin: ")
        assert rum_here(guest, "logs", "--console").out == "Linux version\nlogin:\ngreen\nlogin: \n"
        lines = events(rum_here(guest, "logs", "--console", "-o", "json").out)
        assert lines[2] == {"type": "console", "text": "green"}
        with going_on(guest, "logs", "--console", "--follow") as logs:
            logs.up_to("green")
            log.write(b"root\r\nhello\r\n")
            assert logs.up_to("hello") == ["login: root", "hello"]
            log.write(b"reboot: Power down\n")
            (tmp_path / "off").touch()
            assert logs.end() == (0, ["reboot: Power down", "VM demo is stopped"])


@pytest.mark.parametrize("run_id", ["", "../../../etc/passwd", "\x1b[31m", "\udcff", "x" * 5000, "000001-00000"])
def test_an_id_that_is_none(tmp_path: Path, rum_here: Cli, run_id: str) -> None:
    with local_guest(tmp_path, TEXT) as guest:
        for _ in range(2):
            rum_here(guest, "provision", "--all")
        done = rum_here(guest, "logs", "--run", run_id)
        assert (done.status, done.out) == (2, "")
        assert "\x1b" not in done.err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--list", "--follow"], "--list and --follow"),
        (["--list", "--run", "x"], "--list and --run"),
        (["--console", "--script", "x"], "--console and --script"),
        (["--failed", "-f"], "--failed and --follow"),
        (["--list", "--console"], "--list and --console"),
    ],
)
def test_what_does_not_go_together_is_named(tmp_path: Path, rum_here: Cli, arguments: list[str], named: str) -> None:
    with local_guest(tmp_path, started=False) as guest:
        done = rum_here(guest, "logs", *arguments)
        assert done.status == 2
        assert done.err.splitlines()[0] == f"rum: {named} do not go together"
