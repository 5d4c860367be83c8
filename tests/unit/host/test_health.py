"""`[provision.healthcheck]`: with the real agent, the command line as a process, and a VM that is only played."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path
from typing import cast

import pytest

from rum.host import up as story
from rum.host.events import Phase
from rum.host.guest.probe import how_it_ended
from rum.host.outcome import Outcome
from rum.host.vm.machine import Machine
from rum.protocol import Mode
from tests.unit.host.cli.test_commands import command, json_lines, read_up_to, rum, without_times
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml
from tests.unit.host.test_up import PlayedMachine


def healthcheck(text: str, more: str = "") -> str:
    return f"[provision.healthcheck]\ncommand = '''\n{text}\n'''\ninterval_s = 0.02\n{more}\n"


def counting(directory: Path, until: int) -> str:
    """A command that passes at this try, and says which one it is."""
    tries = directory / "tries"
    return f"echo x >> '{tries}'; n=$(wc -l < '{tries}'); echo try $n; test $n -ge {until}"


def up(guest: LocalGuest, seen: Seen | None = None) -> Outcome:
    return story.up(cast(Machine, PlayedMachine(guest, (False, True))), Seen() if seen is None else seen)


def test_up_ends_once_the_healthcheck_passes(tmp_path: Path) -> None:
    toml = script_toml("one", "echo out") + healthcheck(counting(tmp_path, 3))
    with local_guest(tmp_path, toml) as guest:
        done = rum(guest, "up")
    lines = without_times(done.stdout).splitlines()
    assert done.returncode == 0
    assert lines.index("[1/1] one ok (T)") < lines.index("not healthy yet: exit code 1: try 1")
    assert "not healthy yet: exit code 1: try 2" in lines
    assert lines[lines.index("healthcheck passed at try 3 (T)") + 1] == "VM demo is up: 1 script passed (T)"


def test_it_runs_on_every_up_and_provision_whatever_had_to_run(tmp_path: Path) -> None:
    marker = tmp_path / "healthy"
    toml = script_toml("one", f"touch '{marker}'") + healthcheck(f"test -e '{marker}'", "timeout_s = 0.1")
    with local_guest(tmp_path, toml) as guest:
        machine = cast(Machine, PlayedMachine(guest))
        assert [up(guest).exit, up(guest).exit] == [0, 0]
        marker.unlink()
        assert up(guest).code == "unhealthy"
        assert [story.provision(machine, Seen(), mode).exit for mode in (Mode.AUTO, Mode.BOOT, Mode.SYSTEM)] == [
            1,
            1,
            0,
        ]


def test_a_failed_script_is_the_answer_without_it(tmp_path: Path) -> None:
    toml = script_toml("bad", "exit 7") + healthcheck(f"touch '{tmp_path}/asked'")
    with local_guest(tmp_path, toml) as guest:
        assert up(guest).code == "script-failed"
    assert not (tmp_path / "asked").exists()


def test_one_that_never_passes_is_told_with_its_last_words_and_the_vm_stays(tmp_path: Path) -> None:
    toml = healthcheck("echo starting; echo no database >&2; exit 3", "timeout_s = 0.3")
    with local_guest(tmp_path, toml) as guest:
        done = rum(guest, "-o", "json", "up")
        assert done.returncode == 1
        first, *rest = done.stderr.decode().splitlines()
        assert first.startswith("rum: the healthcheck has not passed within 0.3 s; the last try: ")
        assert first.endswith("the last try: exit code 3")
        assert rest == [
            "  | starting",
            "  | no database",
            "rum: the scripts have passed and the VM is still running: look with `rum shell`, then run `rum up` again",
        ]
        phases = [line for line in json_lines(done.stdout) if line.get("name") == "healthcheck"]
        assert [phase["status"] for phase in phases] == ["started", "failed"]
        error = json_lines(done.stdout)[-1]["error"]
        assert (error["code"], error["tail"]) == ("unhealthy", ["starting", "no database"])
        assert rum(guest, "exec", "true").returncode == 0


def test_a_try_that_hangs_is_killed_and_the_next_one_counts(tmp_path: Path) -> None:
    hanging = f"test -e '{tmp_path}/hung' || {{ touch '{tmp_path}/hung'; exec sleep 600; }}"
    with local_guest(tmp_path, healthcheck(hanging, "try_timeout_s = 0.2")) as guest:
        seen = Seen()
        assert up(guest, seen).exit == 0
    assert "not healthy yet: no end within 0.2 s" in seen.notices()
    assert [event.detail for event in seen if isinstance(event, Phase)][-1] == "passed at try 2"


def test_all_tries_together_end_at_the_timeout_even_where_one_hangs(tmp_path: Path) -> None:
    with local_guest(tmp_path, healthcheck("exec sleep 600", "timeout_s = 0.3")) as guest:
        outcome = up(guest)
    assert outcome.text == "the healthcheck has not passed within 0.3 s; the last try: no end within 0.3 s"


def test_an_agent_that_is_lost_meanwhile_is_a_failed_try(tmp_path: Path) -> None:
    """The first try ends the agent itself; the guest's systemd would start the next one."""
    killed = f"test -e '{tmp_path}/killed' || {{ touch '{tmp_path}/killed'; kill -9 $PPID; sleep 600; }}"
    with local_guest(tmp_path, healthcheck(killed)) as guest:
        assert guest.process
        with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE) as process:
            guest.process.wait(60)
            guest.start()
            out, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"healthcheck passed at try 2" in out


def test_ctrl_c_leaves_at_once(tmp_path: Path) -> None:
    toml = healthcheck("echo waiting; exit 1", "timeout_s = 600")
    with local_guest(tmp_path, toml) as guest:
        with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            read_up_to(process.stdout, b"not healthy yet: exit code 1: waiting\n")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
        assert b"healthcheck failed interrupted (" in out
        assert process.returncode == 130
        assert b"interrupted" in err


@pytest.mark.parametrize(
    ("status", "words"),
    [(7, "exit code 7"), (124, "no end within 2.5 s"), (137, "killed by signal 9 (SIGKILL)"), (127, "exit code 127")],
)
def test_how_a_try_ended(status: int, words: str) -> None:
    assert how_it_ended(status, 2.5) == words
