"""Settings that are changed after the first boot reach the VM, at once or at its next start. One VM, as a story."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from e2e.conftest import MakeProject
from e2e.project import Outcome, Project, poll, read_if_there

ALICE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExampleKeyOfAlice0000000000000000000000 alice"
BOB = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExampleKeyOfBob000000000000000000000000 bob"

FIRST = f"""
[user]
groups = ["crew"]

[ssh]
authorized_keys = ["{ALICE}"]

[[mounts]]
source = "one"
target = "/srv/one"

[[mounts]]
source = "two"
target = "/srv/two"
"""

CHANGED = f"""
[network]
hostname = "box"

[user]
groups = ["pilots", "video"]

[ssh]
authorized_keys = ["{BOB}"]

[advanced]
autologin = true

[[mounts]]
source = "one"
target = "/srv/one"

[[mounts]]
source = "late"
target = "/srv/late"
"""

LATER = "it takes effect at the next start (`rum reboot`)"


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    """A VM after its first boot, cloud-init's part included, with a key that somebody has added by hand."""
    made = make_project("settings")
    for name in ("one", "two", "late"):
        (made.directory / name).mkdir()
    (made.directory / "late/file").write_text("late\n")
    made.configure(FIRST)
    made.up()
    made.guest("cloud-init status --wait || :; echo 'ssh-ed25519 AAAAbyhand by-hand' >> /home/rum/.ssh/authorized_keys")
    return made


@pytest.fixture(scope="module")
def running(project: Project) -> Outcome:
    """`rum up` on the running VM with another rum.toml."""
    project.configure(CHANGED)
    toml = project.directory / "rum.toml"
    toml.write_text(toml.read_text().replace("memory_mb = 768", "memory_mb = 800"))
    return project.up()


def notices(outcome: Outcome) -> list[str]:
    return [event["text"] for event in outcome.of_type("notice")]


def virtiofsd_of(project: Project) -> list[int]:
    """The processes that serve this VM's mounts."""
    mark = f"={Path(project.console_socket()).parent}/fs".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if mark in read_if_there(path)]


def test_each_change_is_told(project: Project, running: Outcome) -> None:
    assert set(notices(running)) >= {
        f"memory is now 800 MiB, the VM runs with 768 MiB; {LATER}",
        f"{project.directory / 'late'} is to be mounted at /srv/late; {LATER}",
        "user rum was added to group pilots, from the next login on",
        "user rum was added to group video, from the next login on",
        "user rum was removed from group crew, from the next login on",
        "the SSH keys of rum are those of rum.toml now",
        "hostname is now box",
        "autologin is on",
        "/srv/two was unmounted",
    }


def require_changed(project: Project) -> None:
    """The guest is as rum.toml wants it, and as somebody has left it."""
    assert sorted(project.guest("id -nG rum").split()) == ["pilots", "rum", "video"]
    keys = project.guest("cat /home/rum/.ssh/authorized_keys").splitlines()
    assert {key.split()[-1] for key in keys} == {f"rum-{project.state_dir.name}", "by-hand", "bob"}
    assert project.guest("stat -c '%U %a' /home/rum/.ssh/authorized_keys").split() == ["rum", "600"]
    assert project.guest("uname -n; cat /etc/hostname").split() == ["box", "box"]


def test_the_guest_has_it(project: Project, running: Outcome) -> None:
    require_changed(project)
    assert project.guest("findmnt -n -t virtiofs -o TARGET").split() == ["/srv/one"]


def test_it_is_told_once(project: Project, running: Outcome) -> None:
    assert all(text.endswith(LATER) or text.startswith("VM ") for text in notices(project.up()))


def test_a_dead_virtiofsd_is_noticed_and_the_next_start_brings_the_rest(project: Project, running: Outcome) -> None:
    alive = virtiofsd_of(project)
    os.kill(alive[0], signal.SIGKILL)
    for _ in poll(10, "both processes of a virtiofsd to end"):
        if len(virtiofsd_of(project)) == len(alive) - 2:
            break
    told = notices(project.up())
    assert "the virtiofsd of the running VM has died; the VM is restarted, nothing else brings it back" in told
    assert "memory: 800 MiB, was 768 MiB" in told
    assert project.guest("cat /srv/late/file").strip() == "late"


def test_cloud_init_does_not_undo_it(project: Project, running: Outcome) -> None:
    project.wait_for_console("box login: rum (automatic login)", times=2)
    project.guest("cloud-init status --wait || :")
    require_changed(project)
    assert project.guest("grep -c virtiofs /etc/fstab").strip() == "2"
