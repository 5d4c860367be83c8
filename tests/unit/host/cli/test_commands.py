"""The command line as a process: streams, exit statuses, signals."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import pytest

from e2e.json_lines import checked
from tests.unit.host.local_guest import CHECKOUT, LocalGuest, local_guest, script_toml, wait_until


def command(guest: LocalGuest | None, *arguments: str) -> dict[str, Any]:
    """The arguments for subprocess that run rum, with the guest as its VM."""
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "LIBVIRT_DEFAULT_URI": "test:///default"}
    if guest is None:
        return {"args": [sys.executable, "-m", "rum.host", *arguments], "env": environment}
    environment["RUM_TEST_GUEST"] = guest.described()
    program = str(Path(__file__).parents[1] / "cli_with_agent.py")
    return {"args": [sys.executable, program, *arguments], "env": environment, "cwd": guest.config.path.parent}


def rum(
    guest: LocalGuest | None, *arguments: str, given: bytes = b"", cwd: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    settings = command(guest, *arguments)
    if cwd is not None:
        settings["cwd"] = cwd
    return subprocess.run(**settings, input=given, capture_output=True, timeout=60, check=False)


def read_up_to(stream: IO[bytes], line: bytes) -> None:
    """Read until this line has come; an end without it is the test's failure."""
    assert line in iter(stream.readline, b""), f"{line!r} never came"


def json_lines(output: bytes) -> list[dict[str, Any]]:
    return [checked(line) for line in output.splitlines()]


def without_times(output: bytes) -> str:
    return re.sub(r"\(\d+\.\d s\)|after \d+\.\d s", "(T)", output.decode())


def test_up_prints_phases_output_and_the_outcome(tmp_path: Path) -> None:
    toml = script_toml("one", "echo out; echo err >&2") + script_toml("two", "echo late", order=60, run_on="boot")
    with local_guest(tmp_path, toml) as guest:
        done = rum(guest, "up")
    lines = without_times(done.stdout).splitlines()
    assert done.returncode == 0
    assert done.stderr == b""
    assert lines[0] == "image    cached debian-12 (T)"
    assert "[1/2] one (system, order 50)" in lines
    assert "one | out" in lines
    assert "one ! err" in lines
    assert "[2/2] two ok (T)" in lines
    assert lines[-1] == "VM demo is up: 2 scripts passed (T)"


def test_a_failed_script_ends_stderr_with_which_how_output_and_advice(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("bad", "echo the reason >&2; exit 7")) as guest:
        done = rum(guest, "-o", "plain", "up")
    assert done.returncode == 1
    assert without_times(done.stderr).splitlines() == [
        "rum: script 'bad' failed with exit code 7 (T)",
        "  | the reason",
        "rum: fix it and run `rum up` again; the VM is still running",
    ]
    assert b"bad ! the reason\n" in done.stdout


def test_json_is_lines_and_nothing_else(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("bad", "printf 'gr\\303'; sleep 0.1; printf '\\274n\\n'; exit 7")) as guest:
        done = rum(guest, "up", "-o", "json")
    lines = json_lines(done.stdout)
    assert done.returncode == 1
    assert "".join(line["text"] for line in lines if line["type"] == "output") == "gr\u00fcn\n"
    assert {
        "type": "phase",
        "name": "image",
        "status": "done",
        "duration_ms": 83,
        "detail": "cached debian-12",
    } in lines
    [started] = [line for line in lines if line["type"] == "script_started"]
    assert (started["name"], started["index"], started["total"]) == ("bad", 1, 1)
    last = lines[-1]
    assert (last["type"], last["command"], last["ok"], last["exit"]) == ("done", "up", False, 1)
    assert last["error"]["code"] == "script-failed"
    assert last["error"]["message"].startswith("script 'bad' failed with exit code 7")
    assert "rum up" in last["error"]["hint"]


def test_quiet_prints_the_outcome_only(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "echo out")) as guest:
        done = rum(guest, "-q", "up")
        assert without_times(done.stdout) == "VM demo is up: 1 script passed (T)\n"
        assert json_lines(rum(guest, "-q", "-o", "json", "up").stdout) == [
            {"type": "done", "schema": 1, "command": "up", "ok": True, "exit": 0}
        ]


def test_a_killed_up_is_taken_up_by_the_next_one_with_every_byte(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    text = f"echo before; while ! [ -e {gate} ]; do sleep 0.05; done; echo after; exit 3"
    with local_guest(tmp_path, script_toml("late", text)) as guest:
        with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE) as first:
            assert first.stdout
            read_up_to(first.stdout, b"late | before\n")
            first.kill()
        gate.touch()
        [run] = (guest.root / "var/lib/rum/runs").iterdir()
        wait_until(lambda: b'"result"' in (run / "record").read_bytes(), "the end of the run")
        done = rum(guest, "up")
        assert done.returncode == 1
        assert done.stdout.count(b"late | before\n") == done.stdout.count(b"late | after\n") == 1
        assert b"script 'late' failed with exit code 3" in done.stderr
        assert len(list((guest.root / "var/lib/rum/runs").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "then"),
    [(("up",), b"`rum up` goes on where it stopped"), (("provision", "--all"), b"`rum provision --all` begins again")],
)
def test_ctrl_c_during_provisioning_cancels_and_exits_130(
    tmp_path: Path, arguments: tuple[str, ...], then: bytes
) -> None:
    with local_guest(tmp_path, script_toml("long", "echo begun; sleep 60")) as guest:
        with subprocess.Popen(**command(guest, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            read_up_to(process.stdout, b"long | begun\n")
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert process.returncode == 130
        assert b"cancelling" in err
        assert b"was cancelled" in err
        assert then in err


def test_sigterm_leaves_and_the_run_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_toml("long", f"echo begun; while ! [ -e {gate} ]; do sleep 0.05; done")) as guest:
        with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE) as process:
            assert process.stdout
            read_up_to(process.stdout, b"long | begun\n")
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 143
        gate.touch()
        assert rum(guest, "up").returncode == 0


def test_nobody_reading_ends_it_quietly(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("long", "seq 1 200000")) as guest:
        with subprocess.Popen(**command(guest, "up"), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
)
def test_exec_ends_with_the_commands_own_status(tmp_path: Path, script: str, status: int) -> None:
    with local_guest(tmp_path) as guest:
        assert rum(guest, "exec", "--", "sh", "-c", script).returncode == status


def test_exec_passes_argv_and_bytes_as_they_are(tmp_path: Path) -> None:
    given = bytes(range(256)) * 5000
    with local_guest(tmp_path) as guest:
        done = rum(guest, "exec", "cat", given=given)
        assert (done.returncode, done.stdout, done.stderr) == (0, given, b"")
        done = rum(guest, "exec", "--", "printf", "%s|", "a b", "", "-v", "*", "$HOME")
        assert done.stdout == b"a b||-v|*|$HOME|"
        done = rum(guest, "exec", "--", "sh", "-c", "cat >&2; echo out", given=b"\xff\x00")
        assert (done.stdout, done.stderr) == (b"out\n", b"\xff\x00")


def test_exec_sets_directory_and_environment_and_minds_the_time(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        done = rum(guest, "exec", "--cwd", "/usr", "--env", "A=b=c", "--", "sh", "-c", 'echo "$PWD $A"')
        assert done.stdout == b"/usr b=c\n"
        assert rum(guest, "exec", "--timeout", "0.3", "--", "sleep", "60").returncode == 124


def test_exec_says_125_when_rum_itself_fails_and_2_for_usage(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.running = False
        done = rum(guest, "exec", "true")
        assert done.returncode == 125
        assert done.stderr == b"rum: VM demo is stopped\nrum: run `rum up` first\n"
        assert rum(guest, "exec").returncode == 2
        assert rum(guest, "exec", "--env", "novalue", "true").returncode == 2


def test_exec_with_a_terminal_has_one(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        ours, theirs = pty.openpty()
        done = subprocess.run(
            **command(guest, "exec", "-t", "--", "sh", "-c", "test -t 0 && stty size"),
            stdin=theirs,
            capture_output=True,
            timeout=60,
            check=False,
        )
        os.close(ours)
        os.close(theirs)
        assert (done.returncode, done.stdout) == (0, b"24 80\r\n")


def test_status_tells_state_agent_and_last_run(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "exit 9")) as guest:
        before = checked(rum(guest, "status", "-o", "json").stdout)
        assert set(before) >= {
            *("name", "id", "state", "provisioned", "accelerator", "transport", "agent", "ports", "last_run")
        }
        assert (before["state"], before["provisioned"], before["last_run"], before["ports"]) == (
            "running",
            False,
            None,
            [],
        )
        assert before["agent"]["vm_id"] == guest.the_vm_id
        rum(guest, "up")
        after = checked(rum(guest, "status", "-o", "json").stdout)
        assert (after["last_run"]["success"], after["last_run"]["failed_script"]) == (False, "one")
        assert "'one' failed with exit code 9" in rum(guest, "status").stdout.decode()


def test_status_of_an_unseen_run_leaves_it_unseen(tmp_path: Path) -> None:
    fine = tmp_path / "fine"
    fine.touch()
    with local_guest(tmp_path, script_toml("each", f"echo here; test -e {fine}", run_on="boot")) as guest:
        assert rum(guest, "up").returncode == 0
        guest.stop()
        guest.new_boot()
        fine.unlink()
        guest.start()
        wait_until(
            lambda: checked(rum(guest, "status", "-o", "json").stdout)["last_run"]["success"] is False, "the run"
        )
        assert b"each | here\n" in rum(guest, "up").stdout


def test_version_and_help_need_no_configuration(tmp_path: Path) -> None:
    done = rum(None, "version", cwd=tmp_path)
    assert re.fullmatch(rb"rum \S+ \(Python 3\.\d+\.\d+\)\n", done.stdout)
    assert set(checked(rum(None, "version", "-o", "json", cwd=tmp_path).stdout)) == {
        "type",
        "version",
        "protocol",
        "schema",
        "python",
    }
    assert rum(None, "--help", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["up", "--nosuch"], ["up", "extra"], ["-o", "xml", "up"], ["status"], ["destroy"]]
)
def test_what_makes_no_sense_exits_2_with_a_sentence(tmp_path: Path, arguments: Sequence[str]) -> None:
    done = rum(None, *arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(b"rum: ")
    assert b"Traceback" not in done.stderr


def test_a_wrong_configuration_lists_every_problem(tmp_path: Path) -> None:
    (tmp_path / "rum.toml").write_text('[image]\nbass = "x"\n[resources]\ncpus = "two"\n')
    done = rum(None, "up", "-o", "json", cwd=tmp_path)
    assert done.returncode == 2
    [line] = json_lines(done.stdout)
    assert (line["type"], line["exit"], line["error"]["code"]) == ("done", 2, "config")
    assert {"bass", "cpus"} <= set(re.findall(r"\w+", done.stderr.decode()))


def test_destroy_asks_only_on_a_terminal(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        done = rum(guest, "destroy")
        assert done.returncode == 2
        assert b"-y" in done.stderr
        done = rum(guest, "destroy", "-y")
        assert (done.returncode, done.stdout) == (0, b"VM demo is destroyed\n")


@pytest.mark.parametrize(
    "arguments", [["version"], ["--help"], ["-o", "json", "version"], ["image", "list"], ["nosuch"]]
)
def test_a_full_disk_under_our_output_is_a_sentence(tmp_path: Path, arguments: Sequence[str]) -> None:
    settings = command(None, *arguments)
    settings["env"]["XDG_CACHE_HOME"] = settings["env"]["XDG_STATE_HOME"] = str(tmp_path)
    with open("/dev/full", "wb") as full:
        streams = {"stderr": full} if arguments == ["nosuch"] else {"stdout": full, "stderr": subprocess.PIPE}
        done = subprocess.run(**settings, **streams, timeout=60, check=False)
    said = None if arguments == ["nosuch"] else b"rum: standard output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (3, said)


@pytest.mark.parametrize("output", ["plain", "json"])
def test_a_full_disk_under_the_output_of_exec_is_a_failure_of_rum(tmp_path: Path, output: str) -> None:
    with local_guest(tmp_path, "") as guest, open("/dev/full", "wb") as full:
        settings = command(guest, "-o", output, "exec", "--", "echo", "x")
        done = subprocess.run(**settings, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert (done.returncode, b"cannot be written: No space left on device" in done.stderr) == (125, True)


@pytest.mark.parametrize("arguments", [["destroy"], ["exec", "-t", "--", "ls"]])
def test_a_standard_input_that_is_closed_is_no_terminal(tmp_path: Path, arguments: Sequence[str]) -> None:
    with local_guest(tmp_path, "") as guest:
        done = with_streams(command(guest, *arguments), "<&-")
    assert (done.returncode, done.stderr.splitlines()[0].startswith(b"rum: ")) == (2, True)
    assert b"bug" not in done.stderr


def test_an_output_that_is_open_for_reading_is_as_good_as_closed(tmp_path: Path) -> None:
    for arguments in (["-o", "json", "list"], ["list"], ["version"]):
        settings = command(None, *arguments)
        settings["env"]["XDG_STATE_HOME"] = str(tmp_path)
        done = with_streams(settings, "1</dev/null")
        assert (done.returncode, done.stderr) == (0, b"")


def with_streams(settings: dict[str, Any], redirection: str) -> subprocess.CompletedProcess[bytes]:
    """The command by a shell that redirects its streams."""
    settings["args"] = ["sh", "-c", f'"$@" {redirection}', "sh", *settings["args"]]
    return subprocess.run(**settings, capture_output=True, timeout=60, check=False)


@pytest.mark.parametrize("modes", [["--system", "--all"], ["--all", "--boot"], ["--system", "--boot", "--all"]])
def test_provision_does_not_guess_which_scripts_are_meant(tmp_path: Path, modes: Sequence[str]) -> None:
    with local_guest(tmp_path, "") as guest:
        done = rum(guest, "provision", *modes)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == b"rum: provision takes one of --system, --boot and --all, which is both"


def test_options_of_a_command_in_the_guest_are_not_ours(tmp_path: Path) -> None:
    with local_guest(tmp_path, "") as guest:
        done = rum(guest, "exec", "-t", "sh", "-o", "json")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"-t needs a terminal" in done.stderr
        done = rum(guest, "-o", "json", "ssh", "uname")
        assert (done.returncode, json_lines(done.stdout)[-1]["exit"]) == (2, 2)


LONG = "x" * 300


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["-c", f"{LONG}/rum.toml", "status"], 2, "cannot be read: File name too long"),
        (["-c", f"{LONG}/rum.toml", "exec", "true"], 125, "cannot be read: File name too long"),
        (["-c", f"{LONG}/rum.toml", "init"], 2, "there is no directory"),
        (["-c", b"b\xff/rum.toml", "up"], 2, "is not UTF-8"),
        (["-c", b"b\xff/rum.toml", "status"], 2, "is not UTF-8"),
        (["-c", "b\1b/rum.toml", "up"], 2, "has a control character"),
        (["image", "pull", "http://[x/y.qcow2"], 2, "is no URL"),
        (["image", "pull", b"http://h/\xff.qcow2"], 2, "is no URL"),
        (["image", "pull", "file:///etc/passwd"], 2, "must begin with http"),
    ],
)
def test_a_name_that_can_be_none_is_a_sentence(
    tmp_path: Path, arguments: Sequence[str], status: int, said: str
) -> None:
    done = rum(None, *arguments, cwd=tmp_path)
    assert (done.returncode, said in done.stderr.decode()) == (status, True), done.stderr


@pytest.mark.parametrize("arguments", [["list"], ["image", "remove", "--unused"]])
def test_vms_that_cannot_be_looked_through_are_a_sentence(tmp_path: Path, arguments: Sequence[str]) -> None:
    (tmp_path / "rum").mkdir()
    (tmp_path / "rum/vms").symlink_to("vms")
    settings = command(None, *arguments)
    settings["env"]["XDG_STATE_HOME"] = str(tmp_path)
    done = subprocess.run(**settings, capture_output=True, timeout=60, check=False)
    assert done.returncode == 3
    assert done.stderr.decode().startswith(f"rum: {tmp_path}/rum/vms cannot be read: ")


@pytest.mark.parametrize("arguments", [["-c", "rum.toml", "status"], ["-c", "rum.toml", "up"], ["status"], ["doctor"]])
def test_a_directory_that_was_removed_is_a_sentence(tmp_path: Path, arguments: Sequence[str]) -> None:
    settings = command(None, *arguments)
    settings["args"] = ["sh", "-c", 'rmdir ../gone && "$@"', "sh", *settings["args"]]
    (tmp_path / "gone").mkdir()
    done = subprocess.run(**settings, cwd=tmp_path / "gone", capture_output=True, timeout=60, check=False)
    assert done.returncode == 2
    assert b"rum: the current directory does not exist any more\n" in done.stderr
