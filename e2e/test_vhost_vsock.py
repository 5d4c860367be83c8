"""What only the kernel's vhost-vsock under KVM can show, and the core of everything else over it. One VM, as a story.

A first boot that fails, the retry, a `rum up` that is killed, a guest that is reset, a CID that is taken, the end.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import pytest

from e2e import intruder
from e2e.conftest import MakeProject, Measured
from e2e.peer import IN_GUEST, PORT, Peer
from e2e.project import Live, Outcome, Project, poll
from e2e.test_host_dies import COMPLETE, kill_in_the_middle
from e2e.test_host_dies import CONFIG as HELD

AGENT_PORT = 2222

CONNECT_TIMEOUT_S = 2
"""The kernel's own, where the guest has no driver yet (VSOCK_DEFAULT_CONNECT_TIMEOUT of net/vmw_vsock/af_vsock.c)."""

NOBODY_THERE = {"ENODEV", "ETIMEDOUT", "ECONNRESET", "EHOSTUNREACH"}

FIRST_BOOT = """
[provision.system]
after = "local-fs"
script = '''
echo s >> /var/tmp/system-runs
echo "the reason" >&2
exit %d
'''

[provision.boot]
after = "local-fs"
script = "echo b >> /var/tmp/boot-runs; echo number $(wc -l < /var/tmp/boot-runs)"
"""

STREAM = """
import hashlib, os, sys
block = os.urandom(1_000_000)
digest = hashlib.sha256()
for n in range(int(sys.argv[1])):
    piece = block[n:] + block[:n]
    digest.update(piece)
    sys.stdout.buffer.write(piece)
sys.stderr.write(digest.hexdigest())
"""


@dataclass(frozen=True)
class Attempt:
    """One connect(2) to the agent's port: what came of it, and after how many seconds."""

    result: str
    seconds: float


def attempt(cid: int) -> Attempt:
    """Connect as a program would that knows nothing of rum; "agent" if that is who answers."""
    start = time.monotonic()
    with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as sock:
        try:
            sock.connect((cid, AGENT_PORT))
            sock.settimeout(30)
            result = "agent" if sock.recv(4) == b"RUM1" else "closed"
        except OSError as exc:
            result = errno.errorcode.get(exc.errno or 0, str(exc))
    return Attempt(result, time.monotonic() - start)


def noted_cid(project: Project) -> int:
    """The CID that rum remembers of the last start."""
    return cast(int, json.loads((project.state_dir / "state.json").read_text())["started"]["cid"])


def boot_runs(project: Project) -> int:
    """How often the boot script has run."""
    return int(project.guest("wc -l < /var/tmp/boot-runs"))


def wait_until_started(project: Project) -> None:
    """Wait until the domain runs, however long the image takes."""
    for _ in poll(60 * project.patience, "the domain"):
        with contextlib.suppress(ValueError, OSError):
            if project.created and project.qemu():
                return


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("vhost-vsock")
    made.configure(FIRST_BOOT % 7)
    return made


@pytest.fixture(scope="module")
def first_boot(project: Project) -> tuple[Outcome, list[Attempt]]:
    """The first `rum up`, and what somebody saw who tried to connect, from the domain's start to the answer."""
    live = project.start("up")
    wait_until_started(project)
    attempts: list[Attempt] = []
    again = time.monotonic()
    for _ in poll(120 * project.patience, "the agent"):
        # Each costs the guest an interrupt or two, and it has a boot to do.
        if time.monotonic() >= again:
            attempts.append(attempt(noted_cid(project)))
            again = time.monotonic() + 1
        if attempts[-1].result == "agent":
            break
    return live.finish(within_s=60 * project.patience), attempts


class TestFirstBoot:
    def test_what_connect_says_before_the_driver_is_up(
        self, first_boot: tuple[Outcome, list[Attempt]], measured: Measured
    ) -> None:
        _, attempts = first_boot
        for result in dict.fromkeys(each.result for each in attempts):
            times = [each.seconds for each in attempts if each.result == result]
            measured(f"connect(2) in a first boot: {len(times)} x {result}, {min(times):.2f} to {max(times):.2f} s")
        failed = attempts[:-1]
        assert {each.result for each in failed} <= NOBODY_THERE
        silent = [each.seconds for each in failed if each.result == "ETIMEDOUT"]
        assert silent, "a guest without a driver answers nothing"
        assert min(silent) > CONNECT_TIMEOUT_S * 0.9

    def test_up_waits_through_it_and_names_the_failure(self, first_boot: tuple[Outcome, list[Attempt]]) -> None:
        outcome, _ = first_boot
        assert outcome.exit == 1, outcome.stdout[-3000:] + outcome.stderr
        result = outcome.result()
        assert (result["failed_script"], result["exit_code"], result["ran"]) == ("system", 7, ["system"])
        assert outcome.output("system", "stderr") == "the reason\n"

    def test_is_under_kvm_with_the_hosts_processor(self, project: Project, first_boot: object) -> None:
        status = project.status()
        assert (status["accelerator"], status["transport"]) == ("kvm", "vhost-vsock")
        domain = project.domain()
        assert domain.get("type") == "kvm"
        assert domain.find("./cpu").get("mode") == "host-passthrough"  # type: ignore[union-attr]
        assert project.guest("grep -c ^processor /proc/cpuinfo; systemd-detect-virt").split() == ["1", "kvm"]

    def test_the_address_is_the_one_that_rum_chose(self, project: Project, first_boot: object) -> None:
        vsock = project.domain().find("./devices/vsock")
        assert vsock is not None
        cid = vsock.find("cid")
        assert cid is not None
        assert (vsock.get("model"), cid.get("auto"), cid.get("address")) == ("virtio", "no", str(noted_cid(project)))
        ask = "import fcntl, struct; print(*struct.unpack('I', fcntl.ioctl(open('/dev/vsock', 'rb'), 0x7B9, bytes(4))))"
        assert project.guest_python(ask) == f"{noted_cid(project)}\n"


class TestStrangers:
    def test_another_user_of_this_host_gets_the_greeting_and_nothing_else(
        self, project: Project, first_boot: object
    ) -> None:
        # Everybody may connect to a CID: it is the key that keeps them out.
        assert intruder.as_second_user(intruder.program("whoami")) == [1, 0]
        program = intruder.program("forges_proof", noted_cid(project), AGENT_PORT, 10)
        greeting, rest = cast(list[str], intruder.as_second_user(program))
        assert bytes.fromhex(greeting).startswith(b"RUM1")
        assert rest in ("", "ConnectionResetError")

    def test_the_key_is_not_theirs(self, project: Project, first_boot: object) -> None:
        paths = [str(path) for path in project.state_dir.iterdir()]
        assert str(project.state_dir / "key") in paths
        assert intruder.as_second_user(intruder.program("reached", [*paths, "/etc/hostname"])) == ["/etc/hostname"]


@pytest.fixture(scope="module")
def provisioned(project: Project, first_boot: object) -> str:
    """The same boot, once the script has been mended; its identity."""
    boot_id = project.boot_id()
    project.configure(FIRST_BOOT % 0)
    outcome = project.up()
    assert outcome.result()["ran"] == ["system", "boot"]
    assert outcome.result()["first_boot"] is True
    assert project.boot_id() == boot_id
    return boot_id


class TestInOneBoot:
    def test_the_mended_script_passes(self, project: Project, provisioned: str) -> None:
        assert project.guest("cat /var/tmp/system-runs /var/tmp/boot-runs") == "s\ns\nb\n"

    def test_every_byte_of_exec_arrives(
        self, project: Project, provisioned: str, measured: Measured, request: pytest.FixtureRequest
    ) -> None:
        size = request.config.getoption("--stream-mb")
        command = project.command("exec", "--", "python3", "-c", STREAM, str(size))
        start = time.monotonic()
        done = subprocess.run(command, env=project.environment, capture_output=True, check=True, timeout=600)
        measured(f"exec over vhost-vsock: {size} MB in {time.monotonic() - start:.0f} s")
        assert len(done.stdout) == size * 1_000_000
        assert hashlib.sha256(done.stdout).hexdigest() == done.stderr.decode()

    @pytest.mark.parametrize("direction", ["from_guest", "to_guest"])
    def test_sends_of_64_kib_arrive_whole(
        self, project: Project, provisioned: str, measured: Measured, direction: str
    ) -> None:
        project.guest_python(f"open('/run/peer.py', 'w').write({IN_GUEST!r})")
        project.guest(
            "systemctl is-active -q peer || systemd-run -q --unit=peer python3 /run/peer.py;"
            f" until ss -l --vsock | grep -q :{PORT}; do sleep 0.2; done"
        )
        peer = Peer(lambda: project.dial(PORT), stall_s=3 * project.patience)
        transfer = getattr(peer, direction)(64 * 1024, 4_000_000)
        measured(f"vhost-vsock: {transfer}")
        assert transfer.complete, str(transfer)

    def test_a_rum_that_is_killed_loses_nothing(self, project: Project, provisioned: str) -> None:
        project.configure(HELD % 6)
        killed = kill_in_the_middle(project)
        assert "after" not in killed.so_far().output("boot")
        outcome = project.up(expect=1)
        assert outcome.output("boot") == COMPLETE
        assert outcome.result()["exit_code"] == 6
        project.guest("rm /run/go-on")
        project.configure(FIRST_BOOT % 0)
        project.up()


@dataclass(frozen=True)
class Reset:
    """A guest that was reset: how often its boot script had run, and what was open meanwhile."""

    boot_runs: int
    follower: Live
    outcome: Outcome
    """Of an `exec`."""
    start: float
    """time.monotonic()"""


@pytest.fixture(scope="module")
def reset(project: Project, provisioned: str) -> Reset:
    """The guest is reset while `logs --follow` and `exec` are connected."""
    before = boot_runs(project)
    follower = project.start("logs", "--follow")
    follower.wait_for(lambda event: event["type"] == "result", within_s=30 * project.patience)
    command = project.command("exec", "--", "sh", "-c", "echo open; exec sleep 1000")
    with subprocess.Popen(
        command, env=project.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as open_exec:
        assert open_exec.stdout is not None
        assert open_exec.stdout.readline() == "open\n"
        # As if by the reset button: nobody closes a connection.
        project.guest("sync; (sleep 1; echo b > /proc/sysrq-trigger) > /dev/null 2>&1 &")
        start = time.monotonic()
        stdout, stderr = open_exec.communicate(timeout=60 * project.patience)
    return Reset(before, follower, Outcome(open_exec.returncode, stdout, stderr, time.monotonic() - start), start)


class TestReset:
    def test_ends_an_open_exec_with_a_sentence(self, reset: Reset, measured: Measured) -> None:
        outcome = reset.outcome
        measured(f"vhost-vsock: an exec ends {outcome.seconds:.0f} s after the guest was reset: {outcome.stderr!r}")
        assert outcome.exit == 125
        assert "Traceback" not in outcome.stderr

    def test_a_follower_sees_the_run_of_the_new_boot(self, project: Project, reset: Reset, measured: Measured) -> None:
        follower = reset.follower
        started = follower.wait_for(lambda event: event["type"] == "run_started", within_s=60 * project.patience)
        assert (started["trigger"], started["first_boot"]) == ("boot", False)
        follower.wait_for(lambda event: event["type"] == "result", within_s=60 * project.patience)
        took = time.monotonic() - reset.start
        measured(f"vhost-vsock: logs --follow has the next boot's result {took:.0f} s after the guest was reset")
        follower.process.kill()
        follower.process.wait(timeout=10)

    def test_the_boot_script_has_run_once_by_itself(self, project: Project, reset: Reset, provisioned: str) -> None:
        assert project.up().result()["ran"] == []
        assert project.boot_id() != provisioned
        assert boot_runs(project) == reset.boot_runs + 1
        assert project.guest("cat /var/tmp/system-runs") == "s\ns\n"


@contextlib.contextmanager
def rival(cid: int) -> Iterator[None]:
    """Another VM of this host, not rum's, that has the CID. Its processor stands still: it answers nothing."""
    command = ["qemu-system-x86_64", "-nodefaults", "-display", "none", "-accel", "kvm", "-m", "64", "-S"]
    command += ["-device", f"vhost-vsock-pci,guest-cid={cid}", "-qmp", "stdio"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as qemu:
        try:
            assert qemu.stdout is not None
            assert b"QMP" in qemu.stdout.readline(), "it speaks once its devices are there"
            yield
        finally:
            qemu.kill()


@dataclass(frozen=True)
class Stopped:
    """The VM as it was when it was shut down: its CID, and how often its boot script had run."""

    cid: int
    boot_runs: int


@pytest.fixture(scope="module")
def stopped(project: Project, reset: object) -> Stopped:
    """The VM, shut down."""
    runs = boot_runs(project)
    assert project.rum("down").exit == 0
    return Stopped(noted_cid(project), runs)


@pytest.fixture(scope="module")
def collided(project: Project, stopped: Stopped) -> tuple[Outcome, Outcome]:
    """An `exec` and a `rum up` while another VM has this one's CID."""
    with rival(stopped.cid):
        return project.rum("exec", "--", "true"), project.up()


class TestCid:
    def test_is_free_again_when_the_vm_is_down(self, stopped: Stopped) -> None:
        assert attempt(stopped.cid).result == "ENODEV"

    def test_of_a_vm_that_is_down_is_not_taken_for_it(
        self, collided: tuple[Outcome, Outcome], measured: Measured
    ) -> None:
        stale, _ = collided
        measured(f"vhost-vsock: exec while another VM has the CID, {stale.seconds:.1f} s: {stale.stderr!r}")
        assert stale.exit == 125
        assert "stopped" in stale.stderr

    def test_that_is_taken_makes_rum_choose_the_next(
        self, project: Project, stopped: Stopped, collided: tuple[Outcome, Outcome]
    ) -> None:
        _, outcome = collided
        assert f"number {stopped.boot_runs + 1}\n" in outcome.output("boot")
        assert noted_cid(project) != stopped.cid
        address = project.domain().find("./devices/vsock/cid")
        assert address is not None
        assert address.get("address") == str(noted_cid(project))
        assert attempt(noted_cid(project)).result == "agent"

    def test_is_the_first_choice_again_when_it_is_free(
        self, project: Project, stopped: Stopped, collided: object, measured: Measured
    ) -> None:
        second = noted_cid(project)
        assert project.rum("down").exit == 0
        outcome = project.up()
        measured(f"vhost-vsock: up in a later boot, {outcome.seconds:.0f} s")
        assert f"number {stopped.boot_runs + 2}\n" in outcome.output("boot")
        assert noted_cid(project) == stopped.cid
        assert attempt(second).result == "ENODEV"


class TestEnd:
    def test_destroy_leaves_nothing(self, project: Project, stopped: Stopped, collided: object) -> None:
        name = f"rum-{project.state_dir.name}"
        assert project.rum("destroy", "-y").exit == 0
        assert attempt(stopped.cid).result == "ENODEV"
        assert not project.created
        listed = subprocess.run(["virsh", "list", "--all", "--name"], capture_output=True, text=True, check=True)
        assert name not in listed.stdout.split()
