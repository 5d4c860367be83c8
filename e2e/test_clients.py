"""Clients that come and go, come at once, or get stuck: runs and the way to the agent survive them. One VM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Outcome, Project, poll

HOLDING = """
[provision.system]
after = "local-fs"
script = "echo s >> /var/tmp/system-runs"

[provision.boot]
after = "local-fs"
script = '''
echo b >> /var/tmp/boot-runs
echo "%s"
until [ -e /run/go-on ]; do sleep 0.2; done
echo "let go"
'''
"""

PEER_LOST_S = 15
"""Silence after which an agent is taken for lost, in seconds (docs/protocol.md)."""

STORM = 200


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("clients")
    made.configure(HOLDING % "holding")
    return made


@pytest.fixture(scope="module")
def both_ups(project: Project) -> tuple[Outcome, Outcome]:
    """Two `rum up` at once, which create the VM."""
    first, second = project.start("up"), project.start("up")
    first.wait_for(lambda event: "holding" in event.get("text", ""), within_s=120 * project.patience)
    second.wait_for(lambda event: "holding" in event.get("text", ""), within_s=30 * project.patience)
    project.guest("touch /run/go-on")
    return first.finish(within_s=30 * project.patience), second.finish(within_s=30 * project.patience)


def vsock_socket(project: Project) -> Path:
    """vhost-device-vsock's socket of this VM."""
    domain = ["virsh", "-c", "qemu:///session", "dumpxml", f"rum-{project.state_dir.name}"]
    text = subprocess.run(domain, capture_output=True, text=True, check=True).stdout
    found = [word for word in text.replace("'", ",").split(",") if word.startswith("path=") and "vh.sock" in word]
    return Path(found[0].removeprefix("path=")).with_name("vm.vsock")


@contextmanager
def stalled(project: Project) -> Iterator[None]:
    """The guest stands still, as it does on a host that is out of memory or suspended."""
    pid = project.qemu()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


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
        with stalled(project):
            waiting = project.start("exec", "--", "true")
            children = Path(f"/proc/{waiting.process.pid}/task/{waiting.process.pid}/children")
            for _ in poll(30, "the process that keeps the connection open"):
                if children.read_text():
                    break
            waiting.process.send_signal(end)
            waiting.finish(within_s=30)
        assert project.guest("echo still here") == "still here\n"


class TestReset:
    @pytest.fixture(scope="class")
    def lost(self, project: Project, both_ups: object) -> tuple[Outcome, float]:
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

    def test_is_noticed_by_the_silence(self, project: Project, lost: tuple[Outcome, float], measured: Measured) -> None:
        _, noticed = lost
        measured(f"a reset guest is taken for lost {noticed:.0f} s after the command that resets it")
        assert noticed < PEER_LOST_S * project.patience

    def test_is_an_interruption_with_a_way_out(self, lost: tuple[Outcome, float]) -> None:
        outcome, _ = lost
        assert outcome.exit == 4
        assert outcome.result()["interrupted"] is True
        assert "rum provision" in outcome.done["error"]["hint"]

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


def storm(path: Path, attempt: Callable[[socket.socket], None]) -> None:
    """Connect so many times, do that, and close."""
    for _ in range(STORM):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(30)
            client.connect(str(path))
            attempt(client)


def daemon_pid(path: Path) -> int:
    """The process that serves the socket."""
    wanted = f"--uds-path={path}".encode()
    (found,) = (entry for entry in Path("/proc").glob("[0-9]*/cmdline") if wanted in entry.read_bytes().split(b"\0"))
    return int(found.parent.name)


def ask(client: socket.socket) -> None:
    """What rum does."""
    client.sendall(b"CONNECT 2222\n")
    assert client.recv(64).startswith(b"OK ")


class TestStorms:
    def test_of_clients_that_wait_for_their_answer(self, project: Project, both_ups: object) -> None:
        storm(vsock_socket(project), ask)
        assert project.guest("echo still here") == "still here\n"

    @pytest.mark.parametrize(
        ("what", "attempt"),
        [
            ("connect and close", lambda client: None),
            ("CONNECT without a newline and close", lambda client: client.sendall(b"CONNECT 2222")),
            ("CONNECT and close", lambda client: client.sendall(b"CONNECT 2222\n")),
        ],
    )
    def test_of_clients_that_do_not(
        self,
        project: Project,
        both_ups: object,
        measured: Measured,
        what: str,
        attempt: Callable[[socket.socket], None],
    ) -> None:
        path = vsock_socket(project)
        storm(path, attempt)
        start = time.monotonic()
        outcome = project.rum("exec", "--", "echo", "still here")
        measured(
            f"{STORM} x {what}: exec exits {outcome.exit} after {time.monotonic() - start:.0f} s: {outcome.stderr!r}"
        )
        fds = len(list(Path(f"/proc/{daemon_pid(path)}/fd").iterdir()))
        measured(f"   descriptors of the daemon: {fds}")
        assert project.rum("up").exit == 0
        assert project.guest("echo still here") == "still here\n"
