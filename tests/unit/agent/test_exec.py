"""exec: one command for one client."""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import re
import signal
import time
from pathlib import Path

import pytest

from rum.protocol import Kind, encode_frame
from rum.protocol.limits import CHUNK_MAX, STDIN_UNASKED, STDIN_WINDOW
from tests.unit.agent.harness import Agent, Answer, Client, is_running, subset, wait_until


@pytest.fixture
def agent(resident: Agent) -> Agent:
    return resident


def begin(agent: Agent, *argv: str, **params: object) -> Client:
    return agent.connect().request("exec", argv=list(argv), **params)


def run(agent: Agent, *argv: str, **params: object) -> tuple[bytes, bytes, dict[str, object]]:
    """stdout, stderr and how it ended."""
    answer = begin(agent, *argv, **params).finish()
    end = answer.end
    assert end.pop("type") == "result"
    return answer.stdout, answer.stderr, end


def ended(exit_code: int | None = None, signal: int | None = None, *, timed_out: bool = False) -> dict[str, object]:
    return {"exit_code": exit_code, "signal": signal, "timed_out": timed_out}


class TestEnd:
    def test_output_and_exit_code(self, agent: Agent) -> None:
        assert run(agent, "sh", "-c", "echo out; echo err >&2; exit 3") == (b"out\n", b"err\n", ended(3))

    def test_what_means_nothing_to_a_command_without_a_terminal_is_passed_over(self, agent: Agent) -> None:
        client = begin(agent, "cat", stdin=True)
        client.message({"type": "resize", "rows": 10, "cols": 10})
        client.send(Kind.BYTES, b"passed over")
        client.send(Kind.STDIN, b"read")
        client.send(Kind.STDIN, b"")
        answer = client.finish()
        assert (answer.stdout, answer.end["exit_code"]) == (b"read", 0)

    def test_signal(self, agent: Agent) -> None:
        assert run(agent, "sh", "-c", "kill -9 $$")[2] == ended(None, 9)

    def test_time_is_up(self, agent: Agent) -> None:
        stdout, _, end = run(agent, "sh", "-c", "echo begun; exec sleep 300", timeout_s=0.3)
        assert (stdout, end) == (b"begun\n", ended(None, 15, timed_out=True))

    @pytest.mark.parametrize(
        ("argv", "params", "code", "reason"),
        [
            (["/no/such"], {}, 127, b"cannot start /no/such: no such file"),
            (["no-such"], {}, 127, b"cannot start no-such: no such file"),
            (["./ls"], {"cwd": "/bin"}, 0, b""),
            (["./no-such"], {"cwd": "/bin"}, 127, b"cannot start ./no-such: no such file"),
            (["/etc/passwd"], {}, 126, b"Permission denied"),
            (["true"], {"cwd": "/no/such"}, 126, b"there is no directory /no/such"),
            (["true"], {"user": "no-such"}, 126, b"there is no user 'no-such'"),
            (["true", *["x" * 60] * 900], {"env": {"A": "x" * 1000}}, 0, b""),
        ],
    )
    def test_what_cannot_start_says_why(
        self, agent: Agent, argv: list[str], params: dict[str, object], code: int, reason: bytes
    ) -> None:
        _, stderr, end = run(agent, *argv, **params)
        assert end == ended(code)
        assert reason in stderr

    def test_a_missing_interpreter_is_not_a_missing_file(self, agent: Agent) -> None:
        named, linked = agent.root / "named", agent.root / "linked"
        named.write_text("#!/no/such/shell -e\n", encoding="ascii")
        loader = re.compile(rb"/lib[^\0]*/ld-[^\0]*")
        linked.write_bytes(loader.sub(lambda found: b"x" * len(found[0]), Path("/bin/true").read_bytes(), count=1))
        for file, reason in ((named, b"the interpreter /no/such/shell is not in"), (linked, b"has not the loader")):
            file.chmod(0o755)
            _, stderr, end = run(agent, str(file))
            assert end == ended(127)
            assert reason in stderr
            assert run(agent, f"./{file.name}", cwd=str(agent.root))[1:] == (
                stderr.replace(b"%b/" % os.fsencode(agent.root), b"./"),
                end,
            )

    def test_starting_in_vain_costs_nothing(self, agent: Agent) -> None:
        for params in ({}, {"stdin": True}, {"tty": {"rows": 1, "cols": 1}}, {"user": "no-such"}):
            run(agent, "/no/such", **params)
        agent.wait_for_descriptors(0)
        assert list((agent.root / "run/rum/fifo").iterdir()) == []

    def test_what_it_leaves_in_the_background_lives_on(self, guest: Agent) -> None:
        agent = guest.start()
        stdout, _, end = run(agent, "sh", "-c", "sleep 300 & echo $!")
        pid = agent.outlives(int(stdout))
        assert end == ended(0)
        assert agent.status()["run"] is None
        assert is_running(pid)

    def test_it_may_print_binary_and_much(self, agent: Agent) -> None:
        stdout, _, _ = run(agent, "head", "-c", "5000000", "/dev/urandom")
        assert len(stdout) == 5_000_000


class TestGiven:
    def test_the_environment_of_scripts(self, agent: Agent) -> None:
        stdout, _, _ = run(agent, "env", env={"COLOUR": "red", "TERM": "xterm"})
        assert set(stdout.decode().splitlines()) == {
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "USER=root",
            "LOGNAME=root",
            "SHELL=/bin/sh",
            "LANG=C.UTF-8",
            "TERM=xterm",
            "DEBIAN_FRONTEND=noninteractive",
            "PYTHONUNBUFFERED=1",
            "COLOUR=red",
        }

    def test_directory_and_mask(self, agent: Agent) -> None:
        command = ["sh", "-c", "pwd; umask"]
        assert run(agent, *command)[0] == b"/\n0022\n"
        assert run(agent, *command, cwd="/usr")[0] == b"/usr\n0022\n"

    def test_its_directory_may_be_removed(self, agent: Agent) -> None:
        here = agent.root / "here"
        here.mkdir()
        script = "echo begun; read go; ls -A .; echo alive"
        client = begin(agent, "sh", "-c", script, cwd=str(here), stdin=True)
        client.wait_for_output(b"begun\n")
        here.rmdir()
        client.send(Kind.STDIN, b"go\n")
        answer = client.finish()
        assert (answer.stdout, answer.end["exit_code"]) == (b"begun\nalive\n", 0)
        assert run(agent, "true", cwd=str(here))[2] == ended(126)

    def test_arguments_are_passed_on_as_they_are(self, agent: Agent) -> None:
        arguments = ["", " a b ", "$HOME", "ü", "\n", "-n"]
        assert run(agent, "printf", "%s|", *arguments)[0].decode() == "".join(f"{word}|" for word in arguments)

    def test_so_are_bytes_that_are_no_text(self, agent: Agent) -> None:
        given = {"argv": ["printf", "%s|", "\udcff\udc80", "ü"], "env": {"A": "\udcfe"}}
        assert agent.call("exec", **given).stdout == b"\xff\x80|\xc3\xbc|"
        assert agent.call("exec", argv=["sh", "-c", 'printf %s "$A"'], env={"A": "\udcfe"}).stdout == b"\xfe"
        answer = agent.call("exec", argv=["\udcff"], cwd="/\udcff")
        assert (answer.stderr, answer.end["exit_code"]) == (
            b"rum-agent: cannot start \xff: there is no directory /\xff\n",
            126,
        )

    def test_no_other_descriptor(self, agent: Agent) -> None:
        assert run(agent, "ls", "/proc/self/fd", stdin=True)[0] == b"0\n1\n2\n3\n"

    def test_another_user(self, agent: Agent) -> None:
        """As root another account, else the same one, which goes the same way."""
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        script = "id -u; id -g; echo $HOME $USER $LOGNAME; echo named >/dev/stdout"
        stdout, _, end = run(agent, "sh", "-c", script, user=account.pw_name)
        assert end == ended(0)
        assert stdout.decode().splitlines() == [
            str(account.pw_uid),
            str(account.pw_gid),
            f"{account.pw_dir} {account.pw_name} {account.pw_name}",
            "named",
        ]


class TestInput:
    def test_there_is_none_by_default(self, agent: Agent) -> None:
        client = begin(agent, "cat")
        assert client.finish().end["exit_code"] == 0

    def test_it_is_passed_on_to_its_end(self, agent: Agent) -> None:
        client = begin(agent, "cat", stdin=True)
        data = bytes(range(256)) * 4000
        for start in range(0, len(data), 50_000):
            client.send(Kind.STDIN, data[start : start + 50_000])
            client.wait_for_size(start)
        client.send(Kind.STDIN, b"")
        answer = client.finish()
        assert answer.stdout == data
        assert answer.end["exit_code"] == 0

    def test_it_may_be_interactive(self, agent: Agent) -> None:
        client = begin(agent, "sh", stdin=True)
        client.send(Kind.STDIN, b"echo one\n")
        client.wait_for_output(b"one\n")
        client.send(Kind.STDIN, b"echo two\n")
        client.wait_for_output(b"two\n")
        client.send(Kind.STDIN, b"exit 5\n")
        assert client.finish().end["exit_code"] == 5

    def test_a_command_need_not_read_it(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "exec <&-; sleep 0.1; echo done", stdin=True)
        for _ in range(20):
            client.send(Kind.STDIN, bytes(1000))
        assert client.finish().stdout == b"done\n"

    def test_more_than_the_command_reads_stays_with_the_client(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "echo begun; exec sleep 300", stdin=True)
        client.wait_for_output(b"begun")
        client.socket.setblocking(False)
        frame = encode_frame(Kind.STDIN, bytes(65536))
        sent = 0
        for _ in range(20):
            with contextlib.suppress(BlockingIOError):
                while sent < 50_000_000:
                    sent += client.socket.send(frame[sent % len(frame) :])
            # Whatever the agent still wants to read it has read when it has served somebody else.
            agent.status()
        assert sent < 2_000_000
        assert agent.memory_kib() < 30 * 1024
        client.close()
        # The agent does not read what the client sent last, so it learns of its end by the next heartbeat.
        agent.wait_for_no_child()

    def test_input_after_the_end_is_ignored(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "read line; echo $line", stdin=True)
        client.send(Kind.STDIN, b"first\n")
        client.wait_for("result")
        client.send(Kind.STDIN, b"second\n")
        client.finish()
        assert agent.status()["run"] is None


class TestLongCommands:
    """Each with an agent of its own, which keeps some of the memory."""

    def test_as_many_arguments_as_linux_takes(self, guest: Agent) -> None:
        agent = guest.start()
        words = ["x" * 1000, "\udcff" * 100, ""] * 900
        out, err, end = run(
            agent,
            "sh",
            "-c",
            'printf "%s\\n" "$@" | sha256sum; echo "$A" | wc -c',
            "sh",
            *words,
            env={"A": "y" * 100_000},
        )
        expected = hashlib.sha256(b"".join(os.fsencode(word) + b"\n" for word in words)).hexdigest()
        assert (out.split()[0], out.split()[-1], err, end["exit_code"]) == (expected.encode(), b"100001", b"", 0)

    def test_one_that_is_too_long_for_linux_is_said(self, guest: Agent) -> None:
        agent = guest.start()
        out, err, end = run(agent, "true", "x" * 200_000)
        assert (out, b"Argument list too long" in err, end["exit_code"]) == (b"", True, 126)

    def test_one_that_is_too_long_for_the_agent_is_refused(self, guest: Agent) -> None:
        agent = guest.start()
        before = agent.memory_kib()
        answer = begin(agent, "true", *["x" * 1_000_000] * 5).finish()
        assert (answer.end["type"], answer.end["code"]) == ("error", "bad-request")
        assert "an exec request is at most 4194304 bytes" in str(answer.end["message"])
        assert agent.memory_kib() < before + 8 * 1024


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
    def test_they_end_the_command(self, agent: Agent, number: int) -> None:
        client = begin(agent, "sh", "-c", "ulimit -c 0; echo begun; exec sleep 300")
        client.wait_for_output(b"begun")
        client.message({"type": "signal", "signal": number})
        assert ending_of(client) == ended(None, number)

    def test_a_handler_runs_and_its_status_is_the_result(self, agent: Agent) -> None:
        script = "trap 'echo caught; exit 7' TERM; echo begun; while :; do sleep 0.01; done"
        client = begin(agent, "sh", "-c", script)
        client.wait_for_output(b"begun")
        client.message({"type": "signal", "signal": signal.SIGTERM})
        answer = client.finish()
        assert (answer.stdout, answer.end["exit_code"]) == (b"begun\ncaught\n", 7)

    def test_they_are_for_the_whole_group(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "sleep 300 & echo $!; wait")
        client.wait_for_output(b"\n")
        child = int(client.answer.stdout)
        client.message({"type": "signal", "signal": signal.SIGTERM})
        assert ending_of(client) == ended(None, 15)
        wait_until(lambda: not is_running(child), "the child is gone")

    def test_what_makes_no_sense_is_ignored(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "read line; exit 4", stdin=True)
        for number in (0, -1, 65, 2**70, "INT", None, True, 2.0, [2]):
            client.message({"type": "signal", "signal": number})
        client.message({"type": "signal"})
        client.send(Kind.STDIN, b"go on\n")
        assert ending_of(client) == ended(4)

    def test_one_for_a_command_that_has_ended_hits_nobody(self, guest: Agent) -> None:
        agent = guest.start()
        client = begin(agent, "sh", "-c", "sleep 300 & echo $!")
        client.wait_for("result")
        client.message({"type": "signal", "signal": signal.SIGTERM})
        client.finish()
        assert is_running(agent.outlives(int(client.answer.stdout)))
        with begin(agent, "/no/such") as client:
            client.message({"type": "signal", "signal": signal.SIGTERM})
            assert client.finish().end["exit_code"] == 127


class TestWindow:
    """How much input there is room for, for clients that ask."""

    def test_it_is_the_first_frame_and_keeps_the_client_from_being_stuck(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "echo begun; exec sleep 300", stdin=True, window=True)
        client.wait_for_output(b"begun")
        assert client.answer.messages == [{"type": "window", "bytes": STDIN_WINDOW}]
        for _ in range((STDIN_UNASKED + STDIN_WINDOW) // CHUNK_MAX):
            client.send(Kind.STDIN, bytes(CHUNK_MAX))
        client.message({"type": "signal", "signal": signal.SIGTERM})
        assert ending_of(client) == ended(None, signal.SIGTERM)

    def test_it_grows_by_what_the_command_reads(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "wc -c", stdin=True, window=True)
        room, size = STDIN_UNASKED, 5_000_000
        sent = 0
        while sent < size:
            client.read_until(lambda answer, least=sent: room + granted(answer) > least)  # type: ignore[misc]
            piece = min(CHUNK_MAX, room + granted(client.answer) - sent, size - sent)
            client.send(Kind.STDIN, bytes(piece))
            sent += piece
        client.send(Kind.STDIN, b"")
        answer = client.finish()
        assert (int(answer.stdout), answer.end["exit_code"]) == (size, 0)
        assert granted(answer) <= STDIN_WINDOW + size

    def test_a_command_that_closes_its_input_makes_room_for_all_of_it(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "exec <&-; echo closed; exec sleep 300", stdin=True, window=True)
        client.wait_for_output(b"closed")
        for _ in range(40):
            client.send(Kind.STDIN, bytes(CHUNK_MAX))
        client.read_until(lambda answer: granted(answer) > 30 * CHUNK_MAX)
        client.message({"type": "signal", "signal": signal.SIGTERM})
        assert ending_of(client) == ended(None, signal.SIGTERM)

    def test_a_client_that_went_before_it_was_told_has_nothing_run(self, agent: Agent) -> None:
        client = agent.connect()
        agent.signal(signal.SIGSTOP)
        client.request("exec", argv=["sleep", "300"], window=True).close()
        agent.signal(signal.SIGCONT)
        agent.wait_for_descriptors(0)
        agent.wait_for_no_child()

    def test_who_does_not_ask_is_not_told(self, agent: Agent) -> None:
        client = begin(agent, "cat", stdin=True)
        for _ in range(40):
            client.send(Kind.STDIN, bytes(CHUNK_MAX // 4))
        client.send(Kind.STDIN, b"")
        assert client.finish().types == ["result"]


def granted(answer: Answer) -> int:
    """Bytes of input that there is, or has been, room for."""
    return sum(message["bytes"] for message in answer.of("window"))


def ending_of(client: Client) -> dict[str, object]:
    """How the command ended."""
    return {name: value for name, value in client.finish().end.items() if name != "type"}


class TestClientGone:
    def test_its_end_kills_the_command_and_its_children(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "sleep 300 & echo $!; echo $$; wait")
        client.read_until(lambda answer: answer.stdout.count(b"\n") == 2)
        client.close()
        pids = [int(pid) for pid in client.answer.stdout.split()]
        wait_until(lambda: not any(map(is_running, pids)), "both are gone")
        agent.wait_for_no_child()

    def test_so_does_the_end_of_the_agent(self, guest: Agent) -> None:
        agent = guest.start()
        client = begin(agent, "sh", "-c", "echo $$; exec sleep 300")
        client.wait_for_output(b"\n")
        pid = int(client.answer.stdout)
        agent.signal(signal.SIGTERM)
        subset(client.finish().end, signal=15)
        assert agent.wait() == 0
        assert not is_running(pid)

    def test_the_agent_does_not_end_before_it(self, guest: Agent) -> None:
        guest.limits = {"KILL_AFTER_S": 0.3}
        guest.start()
        with begin(guest, "sh", "-c", "trap '' TERM; echo $$; while :; do sleep 0.01; done") as client:
            client.wait_for_output(b"\n")
        guest.stop()
        assert not is_running(int(client.answer.stdout))

    def test_nothing_of_it_is_left(self, agent: Agent) -> None:
        for _ in range(20):
            with begin(agent, "sh", "-c", "echo x; exec sleep 300", stdin=True) as client:
                client.wait_for_output(b"x")
        agent.wait_for_no_child()
        agent.wait_for_descriptors(0)
        assert list((agent.root / "run/rum/fifo").iterdir()) == []


class TestSlowReader:
    def test_the_command_waits_and_the_agent_does_not_grow(self, agent: Agent) -> None:
        written = agent.root / "written"
        script = f"for i in 1 2 3 4 5 6 7 8 9 10; do head -c 2000000 /dev/zero; echo $i >>{written}; done"
        client = begin(agent, "sh", "-c", script)
        client.wait_for_output(b"\0")
        for _ in range(20):
            agent.status()
        assert agent.memory_kib() < 30 * 1024
        assert not written.exists() or len(written.read_text(encoding="ascii").split()) < 3
        answer = client.finish()
        assert len(answer.stdout) == 20_000_000
        assert answer.end["exit_code"] == 0

    def test_what_was_written_before_the_end_is_not_lost(self, agent: Agent) -> None:
        """The last pipe full is there when the process is gone and its reader has not begun."""
        for _ in range(10):
            client = begin(agent, "sh", "-c", "head -c 900000 /dev/zero; echo end")
            client.wait_for_output(b"\0")
            agent.status()
            assert len(client.finish().stdout) == 900_004

    def test_the_end_waits_for_its_reader_too(self, guest: Agent) -> None:
        """The ack is due some time after the client has been able to read the result, not after it was written."""
        guest.limits = {"ACK_TIMEOUT_S": 0.3}
        guest.start()
        # Whatever the socket holds, one of these sizes leaves the result waiting in the agent.
        sizes = range(0, 400_000, 20_000)
        clients = [begin(guest, "head", "-c", str(size), "/dev/zero") for size in sizes]
        until = time.monotonic() + 2.0
        wait_until(lambda: time.monotonic() > until, "an ack would have been due")
        for size, client in zip(sizes, clients, strict=True):
            answer = client.finish()
            assert (len(answer.stdout), answer.end["exit_code"]) == (size, 0)


class TestTerminal:
    def test_it_has_its_size_and_is_the_controlling_one(self, agent: Agent) -> None:
        script = "stty size; tty; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo yes; echo err >&2; echo tty >/dev/tty"
        stdout, stderr, end = run(agent, "sh", "-c", script, tty={"rows": 33, "cols": 101})
        lines = stdout.decode().splitlines()
        assert lines[0] == "33 101"
        assert lines[1].startswith("/dev/pts/")
        assert lines[2:] == ["yes", "err", "tty"]
        assert stderr == b""
        assert end == ended(0)

    def test_it_is_resized(self, agent: Agent) -> None:
        script = "trap 'stty size; exit' WINCH; echo begun; while :; do sleep 0.01; done"
        client = begin(agent, "sh", "-c", script, tty={"rows": 24, "cols": 80})
        client.wait_for_output(b"begun")
        client.message({"type": "resize", "rows": 0, "cols": "wide"})
        client.message({"type": "resize", "rows": 50, "cols": 132})
        assert client.finish().stdout.endswith(b"50 132\r\n")

    def test_keys_and_the_end_of_input(self, agent: Agent) -> None:
        client = begin(agent, "cat", tty={"rows": 24, "cols": 80}, stdin=True)
        client.send(Kind.STDIN, b"typed\r")
        client.read_until(lambda answer: answer.stdout.count(b"typed") == 2)
        client.send(Kind.STDIN, b"")
        assert client.finish().end["exit_code"] == 0

    def test_control_c_interrupts(self, agent: Agent) -> None:
        client = begin(agent, "sh", "-c", "echo begun; exec sleep 300", tty={"rows": 24, "cols": 80})
        client.wait_for_output(b"begun")
        client.send(Kind.STDIN, b"\x03")
        assert client.finish().end["signal"] == signal.SIGINT

    def test_it_is_hung_up_when_its_client_goes(self, agent: Agent) -> None:
        """An interactive shell ignores SIGTERM; on SIGHUP it ends in order."""
        said = agent.root / "said"
        script = f"trap '' TERM; trap 'echo hung up >{said}; exit' HUP; echo begun; while :; do sleep 0.01; done"
        client = begin(agent, "sh", "-c", script, tty={"rows": 24, "cols": 80})
        client.wait_for_output(b"begun")
        client.close()
        agent.wait_for_no_child()
        assert said.read_text(encoding="ascii") == "hung up\n"

    def test_its_user_owns_it(self, agent: Agent) -> None:
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
        script = "stat -c %u $(tty); echo named >$(tty)"
        stdout, _, end = run(agent, "sh", "-c", script, tty={"rows": 24, "cols": 80}, user=account.pw_name)
        assert end == ended(0)
        assert stdout.decode().split() == [str(account.pw_uid), "named"]


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"argv": []},
        {"argv": [""]},
        {"argv": "ls"},
        {"argv": [1]},
        {"argv": ["a\0b"]},
        {"argv": ["\ud800"]},
        {"argv": ["true"], "cwd": "a\0b"},
        {"argv": ["true"], "user": "a\0b"},
        {"argv": ["true"], "user": 0},
        {"argv": ["true"], "env": {"A=B": ""}},
        {"argv": ["true"], "env": {"A": "\0"}},
        {"argv": ["true"], "timeout_s": -1},
        {"argv": ["true"], "stdin": "yes"},
        {"argv": ["true"], "window": 1},
        {"argv": ["true"], "tty": {"rows": 24}},
        {"argv": ["true"], "tty": {"rows": 70000, "cols": 1}},
    ],
)
def test_bad_requests(agent: Agent, params: dict[str, object]) -> None:
    subset(agent.call("exec", **params).end, type="error", code="bad-request")
    agent.wait_for_descriptors(0)
