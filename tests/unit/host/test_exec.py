"""`rum exec` as a process with the real agent: streams, signals, terminals, and the ways in which they end."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from rum.host.channel.client import AgentConnection
from rum.host.deadlines import Deadline
from rum.host.exec import ExecRequest, ExecSession
from rum.host.interrupts import NotedSignals
from tests.unit.agent.conftest import agent_in
from tests.unit.agent.harness import VM_ID, is_running, process_state
from tests.unit.host.cli.test_commands import command, read_up_to, rum
from tests.unit.host.local_guest import LocalGuest, local_guest, wait_until
from tests.unit.host.user_terminal import heeding_signals, user_terminal

FORWARDED = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]
LOOP = "while :; do sleep 0.02; done"


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    """One guest for all tests that leave it as it was."""
    with local_guest(tmp_path_factory.mktemp("exec")) as guest:
        yield guest


Stream = int | IO[bytes]


def start(
    guest: LocalGuest, *arguments: str, stdin: Stream = subprocess.DEVNULL, stdout: Stream = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        **command(guest, "exec", *arguments),
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        preexec_fn=heeding_signals,
    )


def sh(script: str) -> list[str]:
    return ["--", "sh", "-c", script]


class TestSignals:
    @pytest.mark.parametrize("number", FORWARDED)
    def test_the_commands_handler_runs_and_its_status_is_ours(self, guest: LocalGuest, number: signal.Signals) -> None:
        script = f"trap 'echo caught; exit 7' {number.name[3:]}; echo begun; {LOOP}"
        with start(guest, *sh(script)) as process:
            assert process.stdout
            read_up_to(process.stdout, b"begun\n")
            process.send_signal(number)
            # A shell names on standard error what has killed its child, which is in the same process group.
            assert process.communicate(timeout=30)[0] == b"caught\n"
        assert process.returncode == 7

    def test_without_a_handler_it_is_128_and_the_signal(self, guest: LocalGuest) -> None:
        with start(guest, *sh("echo begun; exec sleep 300")) as process:
            assert process.stdout
            read_up_to(process.stdout, b"begun\n")
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == 130

    def test_the_same_one_again_leaves_at_once(self, guest: LocalGuest, tmp_path: Path) -> None:
        gate = tmp_path / "gate"
        script = f"trap 'echo caught' INT; echo $$; until [ -e {gate} ]; do sleep 0.02; done"
        with start(guest, *sh(script)) as process:
            assert process.stdout
            pid = int(process.stdout.readline())
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == b"caught\n"
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (130, b"rum: interrupted; the command does not go on in the guest\n")
        wait_until(lambda: not is_running(pid), "the command to be stopped")

    def test_they_go_on_while_nobody_reads_our_output(self, guest: LocalGuest) -> None:
        with start(guest, *sh("echo $$; exec yes")) as process:
            assert process.stdout
            pid, pipe = int(process.stdout.readline()), process.stdout
            wait_until(lambda: is_full(pipe), "the pipe to be full")
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: not is_running(pid), "the command to be stopped")
            out, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (143, b"")
        assert set(out) == set(b"y\n")

    def test_they_do_not_wait_behind_input_that_nobody_reads(self, guest: LocalGuest) -> None:
        with (
            open("/dev/full", "rb") as endless,
            start(guest, *sh("echo begun; exec sleep 300"), stdin=endless) as process,
        ):
            assert process.stdout
            read_up_to(process.stdout, b"begun\n")
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=30) == (b"", b"")
        assert process.returncode == 143

    def test_an_agent_from_before_there_were_signals_ends_the_command(self, tmp_path: Path) -> None:
        with agent_in(tmp_path) as agent:
            agent.setup = "from rum.protocol import phases\nfor row in phases.HOST_SENDS.values(): row.pop('signal', 0)"
            agent.start()
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(agent.socket_path)
            with AgentConnection(sock) as connection, NotedSignals([signal.SIGUSR1], once=True) as signals:
                connection.authenticate(agent.key, VM_ID, Deadline(30))
                pids: list[int] = []

                def interrupt(_stream: str, _timestamp_us: int, data: bytes) -> None:
                    pids.append(int(data))
                    os.kill(os.getpid(), signal.SIGUSR1)

                with open(os.devnull, "rb") as nothing:
                    session = ExecSession(connection, interrupt, None, nothing.fileno(), signals)
                    ended = session.run(ExecRequest(["sh", "-c", "echo $$; exec sleep 300"]))
                    assert ended.status == 128 + signal.SIGUSR1
            agent.wait_for_no_child()
            assert not is_running(pids[0])


def test_an_agent_from_before_there_were_windows_gets_all_of_the_input(tmp_path: Path) -> None:
    """It says nothing at all while the command reads; its heartbeat tells that it has no windows."""
    given = tmp_path / "given"
    given.write_bytes(bytes(3_000_000))
    with agent_in(tmp_path) as agent:
        agent.setup = "from rum.agent import exec\nexec.Exec._grant = lambda self, size: None"
        agent.limits = {"HEARTBEAT_S": 0.2}
        agent.start()
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(agent.socket_path)
        with AgentConnection(sock) as connection, NotedSignals([]) as signals, given.open("rb") as stdin:
            connection.authenticate(agent.key, VM_ID, Deadline(30))
            output: list[bytes] = []
            session = ExecSession(connection, lambda *piece: output.append(piece[2]), None, stdin.fileno(), signals)
            assert session.run(ExecRequest(["wc", "-c"])).status == 0
        assert int(b"".join(output)) == 3_000_000


def is_full(pipe: IO[bytes]) -> bool:
    """Whether who writes to the pipe has to wait for who reads it, which is us."""
    descriptor = os.open(f"/proc/self/fd/{pipe.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
    try:
        return not select.select([], [descriptor], [], 0)[1]
    finally:
        os.close(descriptor)


def without(*descriptors: int) -> Callable[[], None]:
    """In the child: as a shell starts it with `<&-` and `>&-`."""

    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


class TestStreams:
    @pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)])
    def test_that_are_closed_are_nobody_elses(self, guest: LocalGuest, closed: tuple[int, ...]) -> None:
        script = "cat; echo out; echo err >&2; exit 5"
        process = subprocess.Popen(
            **command(guest, "exec", *sh(script)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=without(*closed),
        )
        out, err = process.communicate(timeout=60)
        assert process.returncode == 5
        assert (out, err) == (b"" if 1 in closed else b"out\n", b"" if 2 in closed else b"err\n")

    def test_a_reader_that_has_enough_ends_it_quietly(self, guest: LocalGuest) -> None:
        with start(guest, *sh("echo $$; exec yes")) as process:
            assert process.stdout
            assert process.stderr
            pid = int(process.stdout.readline())
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 141
        wait_until(lambda: not is_running(pid), "the command to be stopped")

    def test_output_that_cannot_be_written_is_a_sentence(self, guest: LocalGuest) -> None:
        with open("/dev/full", "wb") as full, start(guest, "echo", "x", stdout=full) as process:
            _, err = process.communicate(timeout=60)
        assert process.returncode == 125
        assert err == b"rum: standard output cannot be written: No space left on device\n"

    def test_input_that_cannot_be_read_is_a_warning_and_its_end(self, guest: LocalGuest) -> None:
        with (
            socket.socket(socket.AF_UNIX) as unconnected,
            start(guest, *sh("cat; exit 6"), stdin=unconnected.fileno()) as process,
        ):
            out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (6, b"")
        assert err == (
            b"rum: warning: standard input cannot be read: Invalid argument; the command gets nothing more of it\n"
        )

    def test_a_command_that_does_not_want_its_input_ends_at_once(self, guest: LocalGuest) -> None:
        with open("/dev/full", "rb") as endless, start(guest, "true", stdin=endless) as process:
            assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 0

    def test_arguments_may_be_any_bytes(self, guest: LocalGuest) -> None:
        words = [b"\xff\x80", "ü".encode(), b"", b"two\nlines", b"'\"\\"]
        settings = command(guest, "exec", "--env", "A=b", "--", "printf", "%s|")
        done = subprocess.run(
            [*map(os.fsencode, settings.pop("args")), *words], **settings, capture_output=True, timeout=60, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"".join(word + b"|" for word in words), b"")


class TestTerminal:
    def test_it_has_the_users_type_and_size_and_follows_it(self, guest: LocalGuest) -> None:
        script = f"echo $TERM; stty size; trap 'stty size; exit 3' WINCH; echo begun; {LOOP}"
        settings = command(guest, "exec", "-t", *sh(script))
        settings["env"]["TERM"] = "vt220"
        with user_terminal(settings, 33, 101) as user:
            assert user.wait_for(b"begun").split() == [b"vt220", b"33", b"101", b"begun"]
            user.resize(50, 132)
            assert user.finish() == 3
            assert user.shown.endswith(b"begun\r\n50 132\r\n")
            assert user.attributes() == user.before

    def test_its_keys_are_the_commands(self, guest: LocalGuest) -> None:
        with user_terminal(
            command(guest, "exec", "-t", *sh("trap 'echo caught' INT; echo begun; read x; exit 4"))
        ) as user:
            user.wait_for(b"begun")
            user.type(b"\x03")
            user.wait_for(b"caught")
            user.type(b"\r")
            assert user.finish() == 4
            assert user.attributes() == user.before

    @pytest.mark.parametrize("number", FORWARDED)
    def test_a_signal_for_us_hangs_it_up_and_it_is_as_before(
        self, guest: LocalGuest, tmp_path: Path, number: signal.Signals
    ) -> None:
        said = tmp_path / "said"
        script = f"trap 'echo hung up >{said}; exit' HUP; echo begun; {LOOP}"
        with user_terminal(command(guest, "exec", "-t", *sh(script))) as user:
            user.wait_for(b"begun")
            assert user.attributes() != user.before
            user.process.send_signal(number)
            assert user.finish() == 128 + number
            assert user.attributes() == user.before
        wait_until(said.exists, "the command to be hung up")

    def test_so_does_a_window_that_is_closed(self, guest: LocalGuest, tmp_path: Path) -> None:
        said = tmp_path / "said"
        with user_terminal(
            command(guest, "exec", "-t", *sh(f"trap 'echo hung up >{said}; exit' HUP; echo begun; {LOOP}"))
        ) as user:
            user.wait_for(b"begun")
            user.close_window()
            assert user.process.wait(30) == 129
        wait_until(said.exists, "the command to be hung up")

    def test_a_lost_agent_leaves_it_as_before(self, tmp_path: Path) -> None:
        with (
            local_guest(tmp_path) as guest,
            user_terminal(command(guest, "exec", "-t", *sh("echo begun; exec sleep 300"))) as user,
        ):
            user.wait_for(b"begun")
            guest.stop(kill=True)
            assert user.finish() == 125
            assert b"the connection to the agent ended before the result" in user.shown
            assert user.attributes() == user.before

    def test_it_is_taken_again_when_a_stopped_rum_goes_on(self, guest: LocalGuest) -> None:
        with user_terminal(command(guest, "exec", "-t", *sh("echo begun; read x; exit 4"))) as user:
            user.wait_for(b"begun")
            user.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: process_state(user.process.pid) == "T", "rum to be stopped")
            raw = user.attributes()
            user.restore()
            user.process.send_signal(signal.SIGCONT)
            wait_until(lambda: user.attributes() == raw, "the terminal to be raw again")
            user.type(b"\r")
            assert user.finish() == 4

    def test_without_one_it_is_a_usage_error(self, guest: LocalGuest) -> None:
        done = rum(guest, "exec", "-t", "true")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"rum: -t needs a terminal, and standard input is not one\n")


class TestAtATerminalWithoutOne:
    """Standard input is the user's terminal, but the command has none."""

    def test_input_is_lines_and_control_d_ends_it(self, guest: LocalGuest) -> None:
        with user_terminal(command(guest, "exec", *sh("while read x; do echo got $x; done; exit 3"))) as user:
            user.type(b"one\n")
            user.wait_for(b"got one")
            user.type(b"\x04")
            assert user.finish() == 3

    def test_control_c_reaches_the_command(self, guest: LocalGuest) -> None:
        with user_terminal(command(guest, "exec", *sh(f"trap 'echo caught; exit 8' INT; echo begun; {LOOP}"))) as user:
            user.wait_for(b"begun")
            user.type(b"\x03")
            assert user.finish() == 8
            assert b"caught" in user.shown

    def test_in_the_background_it_goes_on_and_reads_once_it_is_in_the_foreground(
        self, guest: LocalGuest, tmp_path: Path
    ) -> None:
        gate = tmp_path / "gate"
        script = f"echo begun; until [ -e {gate} ]; do sleep 0.02; done; echo alive; read x; echo got $x"
        settings = command(guest, "exec", *sh(script))
        job = settings.pop("args")
        shell = 'set -m; "$@" & read first; echo read $first; read second; fg >/dev/null'
        with user_terminal({**settings, "args": ["bash", "-c", shell, "bash", *job]}) as user:
            user.wait_for(b"begun")
            # What is typed is there to be read by whoever may.
            user.type(b"for the shell\n")
            user.wait_for(b"read for the shell")
            gate.touch()
            user.wait_for(b"alive")
            user.type(b"now in the foreground\n")
            user.type(b"for the command\n")
            user.wait_for(b"got for the command")
            assert user.finish() == 0
