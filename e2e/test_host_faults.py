"""Faults of the host: each ends in a VM that works or in one clear sentence, and loses nothing.

One VM, whose disk is a file system of its own, and whose libvirt nobody else uses. `nox -s e2e_faults` runs them.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from e2e.conftest import MakeProject
from e2e.project import Live, Outcome, Project, poll, read_if_there

DISK_SIZE = "1G"

STANDSTILL_S = 60

PIECES = 8
PIECE_MB = 8

# Written around the page cache, so that the host's disk is full while the script runs and not some time later.
WRITING = f"""
for n in $(seq {PIECES}); do
  echo piece $n
  dd if=/dev/urandom of=/var/tmp/piece bs=1M count={PIECE_MB} seek=$(({PIECE_MB} * n)) conv=fsync 2>/dev/null
done
echo once >> /var/tmp/wrote
"""

COUNTING = """
for n in $(seq 20); do echo line $n; sleep 1; done
echo once >> /var/tmp/counted
"""

LINES = "".join(f"line {n}\n" for n in range(1, 21))

SETTING_THE_CLOCK = """
date -s '+3 hours'; sleep 3; date -s '-6 hours'; sleep 3
"""


def boot_script(text: str, limit: str = "") -> str:
    """A rum.toml with one boot script, which runs whenever its text is a new one."""
    return f"[provision.boot]\nafter = \"local-fs\"\n{limit}\nscript = '''{text}'''\n"


@dataclass(frozen=True)
class SmallDisk:
    """A file system of an ordinary user: a tmpfs in another process's mount namespace, seen through /proc."""

    root: Path

    def fill(self, leave: int) -> None:
        """Leave so many bytes; none at all where it is 0, whatever else writes meanwhile."""
        found = os.statvfs(self.root)
        with (self.root / "filler").open("ab", buffering=0) as filler, contextlib.suppress(OSError):
            if leave:
                os.posix_fallocate(filler.fileno(), filler.tell(), found.f_bavail * found.f_bsize - leave)
            while not leave:
                filler.write(bytes(4096))

    def make_room(self) -> None:
        """Take away what `fill` has put there."""
        (self.root / "filler").unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(mount_point: Path) -> Iterator[SmallDisk]:
    """Mounted at that empty directory, for nobody but this user and as long as the block lasts."""
    mount = f'mount -t tmpfs -o size={DISK_SIZE},mode=0700 none "$1" && echo ready && exec sleep infinity'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", mount, "sh", str(mount_point)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "ready\n"
            yield SmallDisk(Path(f"/proc/{holder.pid}/root{mount_point}"))
        finally:
            holder.kill()


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """Short enough for sockets."""
    made = Path(tempfile.mkdtemp(prefix="rum-e2e-", dir="/tmp"))
    for name in ("cache", "config", "run", "disk"):
        (made / name).mkdir()
    yield made
    for name in ("libvirtd", "virtlogd"):
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((made / "run/libvirt" / f"{name}.pid").read_text()), signal.SIGTERM)
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def disk(directory: Path) -> Iterator[SmallDisk]:
    with small_disk(directory / "disk") as mounted:
        (directory / "state").symlink_to(mounted.root)
        yield mounted


@pytest.fixture(scope="module")
def base(image: str, directory: Path) -> Path:
    """The image, as a file that may be taken away."""
    assert Path(image).is_file(), "these tests need an image that was built, or --image PATH"
    return Path(shutil.copy2(image, directory / "image.qcow2"))


@pytest.fixture(scope="module")
def project(directory: Path, disk: SmallDisk, base: Path, make_project: MakeProject) -> Project:
    """Not up yet."""
    env = {
        "XDG_CACHE_HOME": str(directory / "cache"),
        "XDG_CONFIG_HOME": str(directory / "config"),
        # With it comes a libvirt of its own.
        "XDG_RUNTIME_DIR": str(directory / "run"),
    }
    made = make_project("faults", base=str(base), directory=directory, env=env)
    made.configure("")
    return made


@pytest.fixture
def running(project: Project) -> Project:
    """It runs, whatever the test before has left."""
    project.up()
    return project


@dataclass(frozen=True)
class Paused:
    """A VM with a run that waits for room on the host, and how that run's `rum up` has ended."""

    project: Project
    boot: str
    ended: Outcome


@pytest.fixture(scope="module")
def paused(project: Project, disk: SmallDisk) -> Paused:
    project.up()
    boot = project.boot_id()
    project.configure(boot_script(WRITING))
    disk.fill(leave=PIECES * PIECE_MB * 500_000)
    live = project.start("up")
    return Paused(project, boot, live.finish(within_s=120 * project.patience))


def error(outcome: Outcome) -> str:
    """The sentence that a command of `-o json` has ended with, and its hint."""
    about = outcome.done["error"]
    return f"{about['message']}\n{about['hint']}"


def let_pass(seconds: float) -> None:
    """The fault is that so much time passes."""
    select.select([], [], [], seconds)


@contextlib.contextmanager
def standstill(project: Project) -> Iterator[None]:
    """QEMU is stopped for the block."""
    pid = project.qemu()
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def in_the_middle(project: Project, *command: str) -> Live:
    """A command that prints the lines, once it has printed some of them."""
    live = project.start(*command)
    live.wait_for(lambda event: "line 3" in event.get("text", ""), within_s=30 * project.patience)
    return live


def end_libvirtd(project: Project, number: signal.Signals) -> None:
    """End the daemon, and wait until it has."""
    pid = int((project.directory / "run/libvirt/libvirtd.pid").read_text())
    os.kill(pid, number)
    for _ in poll(30, "libvirtd's end"):
        if b"libvirtd" not in read_if_there(Path(f"/proc/{pid}/cmdline")):
            return


class TestFullDisk:
    def test_leaves_nothing_of_a_vm_that_could_not_be_made(self, project: Project, disk: SmallDisk) -> None:
        disk.fill(leave=100_000)
        outcome = project.up(expect=3)
        assert "No space left on device" in error(outcome)
        assert "make room on the disk of" in error(outcome)
        assert not project.created
        assert list((project.directory / "state/rum/vms").iterdir()) == []
        disk.make_room()

    def test_pauses_the_vm_which_is_said_at_once(self, paused: Paused) -> None:
        assert paused.ended.exit == 4
        sentence = f"is paused, because the disk of {paused.project.state_dir} is full\nmake room on that disk"
        assert sentence in error(paused.ended)

    def test_every_command_says_so(self, paused: Paused) -> None:
        project = paused.project
        status = project.status()
        assert status["state"] == "paused"
        assert status["warnings"] == [f"the disk of {project.state_dir} is full, so the VM is paused"]
        assert "make room on that disk, then `rum up`" in status["next"]
        assert "is full, so the VM is paused" in project.rum("list").stderr
        for command, exit_status in (("exec", "--", "true"), 125), (("up",), 4), (("provision",), 4), (("ssh",), 4):
            outcome = project.rum(*command)
            assert (command, outcome.exit) == (command, exit_status)
            assert "is paused, because the disk of" in outcome.stderr

    def test_with_room_everything_goes_on(self, paused: Paused, disk: SmallDisk) -> None:
        disk.make_room()
        project = paused.project
        outcome = project.up()
        assert any("the host's disk was full; it goes on now" in event.get("text", "") for event in outcome.events)
        assert outcome.output("boot") == "".join(f"piece {n}\n" for n in range(1, PIECES + 1))
        assert project.boot_id() == paused.boot, "the VM was not restarted"
        assert project.guest("cat /var/tmp/wrote; du -m /var/tmp/piece | cut -f1").split() == ["once", "64"]

    def test_a_command_that_needs_it_is_told(self, running: Project, disk: SmallDisk) -> None:
        boot = running.boot_id()
        disk.fill(leave=8_000_000)
        wants_room = "dd if=/dev/urandom of=/var/tmp/large bs=1M count=64 conv=fsync"
        outcome = running.rum("-o", "json", "exec", "--", "sh", "-c", wants_room)
        assert outcome.exit == 125
        assert "is paused, because the disk of" in error(outcome)
        disk.make_room()
        running.up()
        assert running.boot_id() == boot

    def test_to_its_last_byte_leaves_every_command_with_a_sentence(self, running: Project, disk: SmallDisk) -> None:
        running.guest("echo kept > /var/tmp/kept; sync")
        disk.fill(leave=0)
        for command in ("status",), ("list",), ("exec", "--", "true"), ("up",), ("provision",), ("logs",), ("down",):
            outcome = running.rum(*command)
            assert "bug" not in outcome.stderr, outcome.stderr
            assert "standard output" not in outcome.stderr, outcome.stderr
            assert outcome.exit == 0 or "\nrum: " in f"\n{outcome.stderr}", outcome.stderr
        disk.make_room()

    def test_and_then_it_works_as_before(self, running: Project) -> None:
        assert running.status()["provisioned"] is True
        assert running.guest("cat /var/tmp/kept") == "kept\n"


class TestStandstill:
    """A suspended host, which stops QEMU's processors but no clock."""

    def test_of_a_minute_in_the_middle_of_a_run_loses_nothing(self, running: Project) -> None:
        running.configure(boot_script(COUNTING, limit=f"timeout_s = {STANDSTILL_S}"))
        live = in_the_middle(running, "up")
        with standstill(running):
            let_pass(STANDSTILL_S)
        outcome = live.finish(within_s=120 * running.patience)
        assert outcome.exit == 0, "its own time limit is not what ends it"
        assert outcome.output("boot") == LINES
        assert running.guest("cat /var/tmp/counted") == "once\n"

    def test_in_the_middle_of_a_command_is_said(self, running: Project) -> None:
        live = in_the_middle(running, "exec", "--", "sh", "-c", COUNTING)
        with standstill(running):
            outcome = live.finish(within_s=120 * running.patience)
        assert outcome.exit == 125
        assert "the agent has been silent for 15 s" in error(outcome)
        assert running.guest("echo on") == "on\n"

    def test_without_an_end_does_not_keep_the_vm_from_going_down(self, running: Project) -> None:
        with standstill(running):
            outcome = running.rum("-o", "json", "down")
        assert outcome.exit == 0
        (shutdown,) = [event for event in outcome.of_type("phase") if event["name"] == "shutdown" and "detail" in event]
        assert "has not answered libvirt within 10 s: turned off" in shutdown["detail"]


class TestBaseImage:
    def test_that_is_gone_does_no_harm_to_a_vm_that_runs(self, running: Project, base: Path) -> None:
        boot = running.boot_id()
        base.rename(base.with_suffix(".aside"))
        refused = running.rum("-o", "json", "reboot")
        assert refused.exit == 3
        assert f"the base image {base}, which this VM's disk stands on, is gone" in error(refused)
        assert "restore it, or start over" in error(refused)
        assert running.boot_id() == boot

    def test_is_named_at_the_next_start_and_all_is_well_once_it_is_back(self, project: Project, base: Path) -> None:
        assert project.rum("down").exit == 0
        assert f"the base image {base}" in error(project.up(expect=3))
        base.with_suffix(".aside").rename(base)
        project.up()


class TestLibvirt:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
    def test_may_end_under_a_running_vm(self, running: Project, number: signal.Signals) -> None:
        boot = running.boot_id()
        end_libvirtd(running, number)
        assert running.status()["state"] == "running"
        running.up()
        assert running.boot_id() == boot

    def test_may_end_in_the_middle_of_a_reboot(self, running: Project) -> None:
        boot = running.boot_id()
        live = running.start("reboot")
        live.wait_for(lambda event: event.get("name") == "shutdown", within_s=60)
        end_libvirtd(running, signal.SIGKILL)
        outcome = live.finish(within_s=240 * running.patience)
        assert outcome.exit == 0, outcome.done
        assert running.boot_id() != boot


def test_a_clock_that_jumps_in_the_guest_ends_no_script(running: Project) -> None:
    running.configure(boot_script(SETTING_THE_CLOCK, limit="timeout_s = 100"))
    outcome = running.up()
    (exited,) = outcome.of_type("script_exited")
    assert exited["timed_out"] is False
    assert 6000 <= exited["duration_ms"] < 100_000


def test_helpers_that_are_killed_are_named_and_come_back(running: Project) -> None:
    path = running.vsock_path()
    of_kernel = path is None
    for mark in [] if of_kernel else [f"--uds-path={path}".encode()]:
        found = [file.parent.name for file in Path("/proc").glob("[0-9]*/cmdline") if mark in read_if_there(file)]
        (pid,) = map(int, found)
        os.kill(pid, signal.SIGKILL)
        for _ in poll(30, "the warning"):
            if running.status()["warnings"]:
                break
        assert "the vsock daemon of VM" in running.status()["warnings"][0]
        refused = running.rum("-o", "json", "exec", "--", "true")
        assert (refused.exit, "has died" in error(refused)) == (125, True)
    restarted = running.up()
    assert any("the VM is restarted" in event.get("text", "") for event in restarted.events) is not of_kernel
    assert running.guest("echo on") == "on\n"


class TestTwoAtOnce:
    def test_two_reboots_are_one(self, running: Project) -> None:
        boot, starts = running.boot_id(), running.console.count("Linux version")
        lives = [running.start("reboot"), running.start("reboot")]
        outcomes = [live.finish(within_s=240 * running.patience) for live in lives]
        assert [outcome.exit for outcome in outcomes] == [0, 0], [outcome.done for outcome in outcomes]
        assert running.boot_id() != boot
        assert running.console.count("Linux version") == starts + 1

    def test_destroy_ends_an_up_with_a_sentence(self, project: Project) -> None:
        assert project.rum("destroy", "-y").exit == 0
        live = project.start("up")
        live.wait_for(lambda event: event.get("name") == "boot", within_s=60 * project.patience)
        assert project.rum("destroy", "-y").exit == 0
        outcome = live.finish(within_s=60 * project.patience)
        assert outcome.exit == 4
        # Its domain is gone some moments before its files are.
        assert re.match(r"VM \S+ (was destroyed|stopped) while rum was waiting for it", error(outcome))
        assert not project.created
        assert list((project.directory / "run/rum").iterdir()) == []
