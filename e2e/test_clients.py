"""Clients that come and go, come at once, or get stuck: runs and the way to the agent survive them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import socket
import struct
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.conftest import Measured
from e2e.project import Outcome, Project, connected, poll, read_if_there

HOLDING = """
[provision.system]
after = "local-fs"
script = "echo s >> /var/tmp/system-runs"

[provision.boot]
after = "local-fs"
script = '''
echo b >> /var/tmp/boot-runs
echo "%s"
until [ -e /run/go-on ] || [ -e /var/tmp/go-on ]; do sleep 0.2; done
echo "let go"
'''
"""

PEER_LOST_S = 15
"""Silence after which an agent is taken for lost, in seconds (docs/protocol.md)."""

STORM = 200


@pytest.fixture(scope="module")
def project(worn: Project) -> Project:
    worn.configure(HOLDING % "holding")
    return worn


@pytest.fixture(scope="module")
def both_ups(project: Project) -> tuple[Outcome, Outcome]:
    """Two `rum up` at once, which create the VM."""
    first, second = project.start("up"), project.start("up")
    first.wait_for(lambda event: "holding" in event.get("text", ""), within_s=120 * project.patience)
    second.wait_for(lambda event: "holding" in event.get("text", ""), within_s=30 * project.patience)
    project.guest("touch /run/go-on")
    return first.finish(within_s=30 * project.patience), second.finish(within_s=30 * project.patience)


@contextmanager
def stalled(project: Project) -> Iterator[None]:
    """The guest stands still, as it does on a host that is out of memory or suspended."""
    pid = project.qemu()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def is_dialling(pid: int, with_helper: bool) -> bool:
    """Whether this `rum` is on its way to the guest.

    Over vhost-device-vsock a process keeps its connection open then; over kernel vsock the socket is all there is.
    """
    if with_helper:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_text())
    with contextlib.suppress(OSError):
        return any(os.readlink(link).startswith("socket:") for link in Path(f"/proc/{pid}/fd").iterdir())
    return False


class TestTogether:
    def test_two_ups_at_once_end_well_and_run_everything_once(
        self, project: Project, both_ups: tuple[Outcome, Outcome]
    ) -> None:
        for outcome in both_ups:
            assert outcome.exit == 0, outcome.stdout[-3000:] + outcome.stderr
            assert outcome.output("boot") == "holding\nlet go\n", "both see all of it"
        assert project.guest("cat /var/tmp/system-runs /var/tmp/boot-runs") == "s\nb\n"


class TestStalls:
    @pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
    def test_who_leaves_a_guest_that_stalls_takes_nothing_along(
        self, project: Project, both_ups: object, end: signal.Signals
    ) -> None:
        with_helper = project.vsock_path() is not None
        with stalled(project):
            waiting = project.start("exec", "--", "true")
            for _ in poll(30 * project.patience, "the attempt to connect"):
                if is_dialling(waiting.process.pid, with_helper):
                    break
            waiting.process.send_signal(end)
            waiting.finish(within_s=30)
        assert project.guest("echo still here") == "still here\n"


@pytest.fixture(scope="module")
def lost(project: Project, both_ups: object) -> tuple[Outcome, float]:
    """A `rum provision` whose guest is reset, and after how many seconds it noticed."""
    project.configure(HOLDING % "holding again")
    project.guest("rm /run/go-on")
    live = project.start("provision")
    live.wait_for(lambda event: "holding again" in event.get("text", ""), within_s=30 * project.patience)
    # As if by the reset button: nobody closes a connection.
    project.guest("(sleep 1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    start = time.monotonic()
    live.wait_for(lambda event: "connecting again" in event.get("text", ""), within_s=60 * project.patience)
    noticed = time.monotonic() - start
    return live.finish(within_s=60 * project.patience), noticed


class TestReset:
    def test_is_noticed_by_the_silence(self, project: Project, lost: tuple[Outcome, float], measured: Measured) -> None:
        _, noticed = lost
        measured(f"a reset guest is taken for lost {noticed:.0f} s after the command that resets it")
        assert noticed < PEER_LOST_S * project.patience

    def test_is_an_interruption_with_a_way_out(self, lost: tuple[Outcome, float]) -> None:
        outcome, _ = lost
        assert outcome.exit == 4
        # What it says depends on whether the guest had anything of the run on its disk: no script had ended yet.
        said = re.compile("the guest was (reset|rebooted or its agent stopped) while script 'boot' ran")
        assert said.match(outcome.done["error"]["message"]), outcome.done
        assert "again" in outcome.done["error"]["hint"]

    def test_changed_scripts_run_after_the_run_of_the_guests_own(
        self, project: Project, lost: tuple[Outcome, float]
    ) -> None:
        for _ in poll(30 * project.patience, "the autonomous run"):
            agent = project.status()["agent"]
            if agent and agent["run"]:
                assert agent["run"]["trigger"] == "boot"
                break
        project.configure(HOLDING % "changed")
        live = project.start("provision")
        live.wait_for(lambda event: "holding again" in event.get("text", ""), within_s=30 * project.patience)
        project.guest("touch /run/go-on")
        outcome = live.finish(within_s=60 * project.patience)
        assert outcome.exit == 0, outcome.stdout[-3000:]
        assert outcome.output("boot") == "holding again\nlet go\nchanged\nlet go\n"
        assert project.guest("wc -l < /var/tmp/system-runs").strip() == "1"
        assert project.up().result()["ran"] == []


AGENT_PORT = 2222


def raw_connection(project: Project) -> socket.socket:
    """To vhost-device-vsock without having asked it for anything; over kernel vsock, to the agent itself."""
    path = project.vsock_path()
    return connected(socket.AF_UNIX, str(path), 30) if path else project.dial(AGENT_PORT)


def daemon_seconds(project: Project) -> float:
    """The processor time that vhost-device-vsock has taken, 0 where there is none."""
    wanted = f"--uds-path={project.vsock_path()}".encode()
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        if wanted in read_if_there(entry).split(b"\0"):
            fields = (entry.parent / "stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


class TestStorms:
    def test_of_clients_that_wait_for_their_answer(self, project: Project, released: None) -> None:
        # More than the agent lets in at once may be refused; none of them may be left without an answer.
        for _ in range(STORM):
            with contextlib.suppress(ConnectionRefusedError):
                project.dial(AGENT_PORT).close()
        assert project.guest("echo still here") == "still here\n"

    @pytest.mark.parametrize("sent", [b"", b"CONNECT 2222", b"CONNECT 2222\n"])
    def test_of_clients_that_do_not(self, project: Project, released: None, measured: Measured, sent: bytes) -> None:
        for _ in range(STORM):
            # Over kernel vsock these reach the agent itself, which makes room for the next by closing the oldest.
            with contextlib.suppress(ConnectionError), raw_connection(project) as client:
                client.sendall(sent)
        seconds = daemon_seconds(project)
        outcome = exec_or_recover(project)
        busy = daemon_seconds(project) - seconds
        measured(
            f"{STORM} clients that send {sent!r} and close: exec then ends with {outcome.exit}"
            f" in {outcome.seconds:.1f} s, in which vhost-device-vsock is busy for {busy:.1f} s"
        )

    def test_of_one_that_leaves_while_the_guest_stands_still(
        self, project: Project, released: None, measured: Measured
    ) -> None:
        # What rum itself never does: TestStalls shows how it leaves.
        # Over kernel vsock there is nobody to leave: the connection comes about in the guest, or not at all.
        with stalled(project), contextlib.suppress(TimeoutError), raw_connection(project) as client:
            client.sendall(b"CONNECT 2222\n")
            wait_until_read(client)
        outcome = exec_or_recover(project)
        measured(f"a client that leaves while the guest stands still: exec ends with {outcome.exit}: {outcome.stderr}")


def wait_until_read(client: socket.socket) -> None:
    """Wait until the other end of a Unix socket has read everything."""
    for _ in poll(10, "vhost-device-vsock to read"):
        if not struct.unpack("i", fcntl.ioctl(client, termios.TIOCOUTQ, bytes(4)))[0]:
            return


@pytest.fixture(scope="module")
def released(project: Project, both_ups: object) -> None:
    """The boot script does not hold any more, in whichever boot."""
    project.guest("touch /var/tmp/go-on")


def exec_or_recover(project: Project) -> Outcome:
    """A command; where it cannot be run that is said, and `rum up` brings the guest back."""
    outcome = project.rum("exec", "--", "sh", "-c", "sleep 2; echo still here")
    assert (outcome.exit, outcome.stdout) in ((0, "still here\n"), (125, "")), outcome.stderr
    assert "Traceback" not in outcome.stderr
    if outcome.exit:
        assert "rum up" in outcome.stderr
    assert project.rum("up").exit == 0
    assert project.guest("echo still here") == "still here\n"
    return outcome
