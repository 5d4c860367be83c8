"""Settings that reach an existing guest: the real program in a real shell, through the real agent; what only root or a
kernel can do is played by stubs that note their calls.
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rum.host.config.model import Config, Filesystem, Mount
from rum.host.errors import GuestError
from rum.host.guest import guest_settings
from rum.host.guest.guest_settings import PROGRAM, update_settings
from rum.host.guest.settings import mounts_of, seeded_settings
from rum.host.store import LastStart
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest

KEY_A = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA alice@home"
KEY_B = 'from="10.0.0.1, x",no-pty ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB bob'
KEY_C = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABC"
BY_HAND = "# mine\nssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIX by hand\n"

GETTY = "/etc/serial-getty@ttyS0.service.d/autologin.conf"

# `id` and friends answer from files; `mount` puts its target into a list that `mountpoint` and `findmnt` read.
STUBS = {
    "id": 'case "$*" in "-nG "*) cat "$RUM_ROOT/groups-of" ;; *) [ "$1" = rum ] ;; esac',
    "getent": 'grep -qx "$2" "$RUM_ROOT/groups"',
    "groupadd": 'echo "$1" >>"$RUM_ROOT/groups"',
    "usermod": 'echo "$3" >>"$RUM_ROOT/groups-of"',
    "gpasswd": 'grep -vxF -e "$3" "$RUM_ROOT/groups-of" >"$RUM_ROOT/g" || :; mv "$RUM_ROOT/g" "$RUM_ROOT/groups-of"',
    "systemctl": "",
    "restorecon": "",
    "timeout": "",
    "mountpoint": 'grep -qxF -e "$2" "$RUM_ROOT/mounted"',
    "findmnt": 'case "$*" in *FSTYPE*) echo virtiofs ;; *SOURCE*) cat "$RUM_ROOT/tag" ;; *) echo rw,relatime ;; esac',
    "mount": '[ "$1" = -o ] || echo "$1" >>"$RUM_ROOT/mounted"',
    "umount": 'grep -vxF -e "$1" "$RUM_ROOT/mounted" >"$RUM_ROOT/m" || :; mv "$RUM_ROOT/m" "$RUM_ROOT/mounted"',
    "modprobe": "",
}

KNOWS_VIRTIOFS = 'case "$*" in *virtiofs*/proc/filesystems) ;; *) exec /usr/bin/grep "$@" ;; esac'


@dataclass(frozen=True)
class Root:
    """A directory that stands for the guest's."""

    path: Path

    @classmethod
    def make(cls, path: Path) -> Root:
        for directory in ("etc", "proc/sys/kernel", "bin", "home"):
            (path / directory).mkdir(parents=True)
        files = {
            "etc/os-release": "ID=debian\n",
            "etc/hostname": "old\n",
            "etc/hosts": "127.0.0.1 localhost\n127.0.1.1\told.example.com old\n10.0.0.1 other\n",
            "etc/fstab": "# stays\nUUID=1234 / ext4 defaults 0 1\n",
            "proc/sys/kernel/hostname": "old\n",
            "groups": "sudo\n",
            "groups-of": "rum\n",
            "mounted": "",
            "tag": "one\n",
        }
        for name, text in files.items():
            (path / name).write_text(text)
        root = cls(path)
        for name, body in STUBS.items():
            root.stub(name, body)
        return root

    def stub(self, name: str, body: str) -> None:
        file = self.path / "bin" / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>"$RUM_ROOT/calls"\n{body}\n')
        file.chmod(0o755)

    @property
    def environment(self) -> dict[str, str]:
        path = f"{self.path}/bin:/usr/bin:/bin"
        return {"PATH": path, "RUM_ROOT": str(self.path), "HOME": str(self.path / "home")}

    @property
    def calls(self) -> list[str]:
        """What the stubs were called with, since the last look."""
        log = self.path / "calls"
        lines = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return lines

    def read(self, name: str) -> str:
        return (self.path / name).read_text()

    def step(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["sh", "-c", PROGRAM.read_text(), "rum-settings", *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def changed(self, *arguments: str) -> bool:
        """Whether the step says that it has changed something; it must succeed."""
        done = self.step(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        return bool(done.stdout)


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root.make(tmp_path / "guest")


def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", "--shell=sh", str(PROGRAM)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_hostname_is_everywhere(root: Root) -> None:
    assert root.changed("hostname", "box.example.org")
    assert (root.read("etc/hostname"), root.read("proc/sys/kernel/hostname")) == ("box\n", "box\n")
    assert root.read("etc/hosts") == "127.0.0.1 localhost\n127.0.1.1 box.example.org box\n10.0.0.1 other\n"
    assert not root.changed("hostname", "box.example.org")


def test_the_family_of_fedora_has_the_whole_name(root: Root) -> None:
    (root.path / "etc/os-release").write_text('ID="rocky"\nID_LIKE="rhel centos fedora"\n')
    assert root.changed("hostname", "box.example.org")
    assert root.read("etc/hostname") == "box.example.org\n"


def test_a_group_is_made_joined_and_left(root: Root) -> None:
    assert root.changed("join", "rum", "docker")
    assert (root.read("groups"), root.read("groups-of")) == ("sudo\ndocker\n", "rum\ndocker\n")
    assert not root.changed("join", "rum", "docker")
    assert root.changed("leave", "rum", "docker")
    assert root.read("groups-of") == "rum\n"
    assert not root.changed("leave", "rum", "docker")


def test_an_account_that_is_not_there_is_waited_for_and_named(root: Root) -> None:
    done = root.step("join", "ghost", "docker")
    assert (done.returncode, done.stderr) == (1, "the guest has no account ghost\n")
    assert "timeout 120 cloud-init status --wait" in root.calls


def test_keys_come_and_go_but_those_by_hand_stay(root: Root) -> None:
    file = root.path / "home/.ssh/authorized_keys"
    assert root.changed("keys", f"{KEY_A}\n{KEY_B}", "")
    assert file.read_text() == f"{KEY_A}\n{KEY_B}\n"
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    file.write_text(file.read_text() + BY_HAND)
    assert root.changed("keys", f"{KEY_A}\n{KEY_C}", f"{KEY_A}\n{KEY_B}")
    assert file.read_text() == f"{KEY_A}\n{BY_HAND}{KEY_C}\n"
    assert not root.changed("keys", f"{KEY_A}\n{KEY_C}", KEY_B)
    assert [path.name for path in file.parent.iterdir()] == ["authorized_keys"]


def test_a_key_that_was_edited_by_hand_is_there_once(root: Root) -> None:
    assert root.changed("keys", KEY_A, "")
    file = root.path / "home/.ssh/authorized_keys"
    file.write_text("no-pty " + KEY_A.removesuffix("alice@home") + "other comment\n")
    assert not root.changed("keys", KEY_A, "")


def test_a_tool_that_fails_costs_no_file(root: Root) -> None:
    root.stub("awk", "exit 1")
    before = root.read("etc/fstab")
    (root.path / "home/.ssh").mkdir()
    (root.path / "home/.ssh/authorized_keys").write_text(BY_HAND)
    for arguments in (("fstab", "one /srv virtiofs rw 0 0"), ("keys", KEY_A, "")):
        assert root.step(*arguments).returncode != 0
    assert (root.read("etc/fstab"), root.read("home/.ssh/authorized_keys")) == (before, BY_HAND)


def test_autologin_goes_on_and_off(root: Root) -> None:
    assert root.changed("autologin", GETTY, "[Service]\nExecStart=")
    assert root.read("etc/serial-getty@ttyS0.service.d/autologin.conf") == "[Service]\nExecStart=\n"
    assert root.calls == [
        f"restorecon {root.path}/etc/serial-getty@ttyS0.service.d/autologin.conf",
        "systemctl daemon-reload",
        "systemctl try-restart --no-block serial-getty@ttyS0.service",
    ]
    assert not root.changed("autologin", GETTY, "[Service]\nExecStart=")
    assert root.changed("autologin", GETTY, "")
    assert not (root.path / "etc/serial-getty@ttyS0.service.d/autologin.conf").exists()
    assert not root.changed("autologin", GETTY, "")


def test_rum_s_block_of_fstab_is_replaced_and_nothing_else(root: Root) -> None:
    before = root.read("etc/fstab")
    assert root.changed("fstab", "one /srv virtiofs rw 0 0")
    assert root.read("etc/fstab") == f"{before}# rum mounts: begin\none /srv virtiofs rw 0 0\n# rum mounts: end\n"
    assert "systemctl daemon-reload" in root.calls
    assert not root.changed("fstab", "one /srv virtiofs rw 0 0")
    assert root.calls == []
    assert root.changed("fstab", "")
    assert root.read("etc/fstab") == before


def test_a_broken_block_of_fstab_is_left_alone(root: Root) -> None:
    (root.path / "etc/fstab").write_text("# rum mounts: begin\n")
    done = root.step("fstab", "one /srv virtiofs rw 0 0")
    assert "without the other; remove it" in done.stderr
    assert root.read("etc/fstab") == "# rum mounts: begin\n"


# What follows goes through the agent.


def with_mounts(config: Config, directory: Path, *names: str) -> Config:
    mounts = tuple(Mount(directory / name, str(directory / "guest" / name), name) for name in names)
    return dataclasses.replace(config, mounts=mounts)


def start_of(config: Config) -> LastStart:
    return LastStart("tcg", "vhost-user", 70_000, 0, mounts=mounts_of(config))


@pytest.fixture
def guest(tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalGuest]:
    """A guest that was told what its rum.toml says; the kernel under the tests has virtiofs or is said to."""
    monkeypatch.setattr(guest_settings, "ENVIRONMENT", root.environment)
    root.stub("grep", KNOWS_VIRTIOFS)
    with local_guest(tmp_path, '[user]\ngroups = ["sudo"]\n') as made:
        yield made


def reconfigure(guest: LocalGuest, **changes: object) -> None:
    """Edit rum.toml."""
    guest.config = dataclasses.replace(guest.config, **changes)  # type: ignore[arg-type]


def test_what_has_not_changed_is_not_touched(guest: LocalGuest, root: Root) -> None:
    update_settings(guest, seen := Seen())
    assert (list(seen), root.calls) == ([], [])


def test_each_change_is_told_and_noted(guest: LocalGuest, root: Root) -> None:
    reconfigure(
        guest,
        user=dataclasses.replace(guest.config.user, groups=("docker",)),
        network=dataclasses.replace(guest.config.network, hostname="box"),
        advanced=dataclasses.replace(guest.config.advanced, autologin=True),
    )
    update_settings(guest, seen := Seen())
    assert seen.notices() == [
        "user rum was added to group docker, from the next login on",
        "hostname is now box",
        "autologin is on",
    ]
    assert guest.told == seeded_settings(guest.config)
    assert "--autologin rum " in root.read("etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf")
    update_settings(guest, again := Seen())
    assert list(again) == []


def test_a_guest_of_an_older_rum_is_told_everything_once(guest: LocalGuest, root: Root) -> None:
    guest.told = None
    (root.path / "etc/hostname").write_text("demo\n")
    (root.path / "etc/hosts").unlink()
    (root.path / "proc/sys/kernel/hostname").write_text("demo\n")
    update_settings(guest, seen := Seen())
    assert seen.notices() == ["user rum was added to group sudo, from the next login on"]
    assert guest.told == seeded_settings(guest.config)


def test_a_step_that_fails_is_a_warning_and_tried_again(guest: LocalGuest, root: Root) -> None:
    root.stub("usermod", "echo no space >&2; exit 1")
    (root.path / "groups-of").write_text("rum\nsudo\n")
    before = seeded_settings(guest.config)
    reconfigure(
        guest,
        user=dataclasses.replace(guest.config.user, groups=("docker",)),
        network=dataclasses.replace(guest.config.network, hostname="box"),
    )
    update_settings(guest, seen := Seen())
    assert seen.notices() == [
        "adding rum to group docker in the guest failed: no space; 'rum up' tries again",
        "user rum was removed from group sudo, from the next login on",
        "hostname is now box",
    ]
    assert guest.told == dataclasses.replace(before, hostname="box", groups=())
    root.stub("usermod", STUBS["usermod"])
    update_settings(guest, again := Seen())
    assert again.notices() == ["user rum was added to group docker, from the next login on"]


def test_keys_of_an_account_that_the_guest_does_not_have_are_a_warning(guest: LocalGuest) -> None:
    assert guest.told is not None
    guest.told = dataclasses.replace(guest.told, user="no-such-account")
    reconfigure(guest, ssh=dataclasses.replace(guest.config.ssh, authorized_keys=(KEY_A,)))
    update_settings(guest, seen := Seen())
    (text,) = seen.notices()
    assert text.startswith("writing the SSH keys of no-such-account in the guest failed: ")
    assert "no-such-account" in text
    assert guest.told.keys == ()


def test_mounts_are_made_before_anything_is_run(guest: LocalGuest, root: Root, tmp_path: Path) -> None:
    guest.config = with_mounts(guest.config, tmp_path, "one", "one/two")
    guest.started = start_of(guest.config)
    update_settings(guest, seen := Seen())
    one, two = (f"{tmp_path}/guest/{name}" for name in ("one", "one/two"))
    assert root.read("mounted").splitlines() == [one, two]
    assert seen.notices() == [f"{tmp_path}/{name} is mounted at {tmp_path}/guest/{name}" for name in ("one", "one/two")]
    assert [line.split()[:3] for line in root.read("etc/fstab").splitlines()[3:5]] == [
        ["one", one, "virtiofs"],
        ["one/two", two, "virtiofs"],
    ]
    assert guest.told is not None
    assert guest.told.mounts == mounts_of(guest.config)


def test_what_a_mount_needs_below_the_home_is_the_account_s(root: Root) -> None:
    # cloud-init makes the account while the first second passes.
    home = f"{root.path}/home/rum"
    root.stub("getent", f'[ ! -d "{home}" ] || echo "rum:x:1000:1000::{home}:/bin/sh"')
    root.stub("sleep", f'mkdir "{home}"')
    root.stub("chown", "")
    root.stub("grep", KNOWS_VIRTIOFS)
    done = root.step("mount", "one", f"{home}/deep/er", "rw", "rum")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path(f"{home}/deep/er").is_dir()
    calls = root.calls
    assert [call for call in calls if call.startswith("chown")] == [
        f"chown rum: {home}/deep",
        f"chown rum: {home}/deep/er",
    ]
    assert f"mount {home}/deep/er" in calls


def test_a_home_that_never_comes_is_said(root: Root) -> None:
    root.stub("getent", "exit 2")
    root.stub("sleep", "")
    done = root.step("mount", "one", f"{root.path}/home/rum/src", "rw", "rum")
    assert (done.returncode, done.stderr) == (1, "the guest has no account rum with a home directory\n")


def test_what_rum_toml_no_longer_mounts_is_unmounted(guest: LocalGuest, root: Root, tmp_path: Path) -> None:
    before = root.read("etc/fstab")
    guest.config = with_mounts(guest.config, tmp_path, "one")
    guest.started = start_of(guest.config)
    update_settings(guest, Seen())
    reconfigure(guest, mounts=())
    update_settings(guest, seen := Seen())
    assert seen.notices() == [f"{tmp_path}/guest/one was unmounted"]
    assert (root.read("mounted"), root.read("etc/fstab")) == ("", before)


def test_a_busy_mount_is_tried_again(guest: LocalGuest, root: Root, tmp_path: Path) -> None:
    guest.config = with_mounts(guest.config, tmp_path, "one", "two")
    guest.started = start_of(guest.config)
    update_settings(guest, Seen())
    root.stub("umount", 'case "$1" in *one) echo target is busy >&2; exit 32 ;; esac')
    reconfigure(guest, mounts=())
    update_settings(guest, seen := Seen())
    assert seen.notices() == [
        f"{tmp_path}/guest/two was unmounted",
        f"unmounting {tmp_path}/guest/one in the guest failed: target is busy; 'rum up' tries again",
    ]
    root.stub("umount", STUBS["umount"])
    update_settings(guest, again := Seen())
    assert again.notices() == [f"{tmp_path}/guest/one was unmounted"]
    assert guest.told is not None
    assert guest.told.mounts == ()


def test_a_mount_that_the_domain_does_not_have_yet_is_in_fstab_only(
    guest: LocalGuest, root: Root, tmp_path: Path
) -> None:
    guest.started = start_of(guest.config)
    guest.config = with_mounts(guest.config, tmp_path, "one")
    update_settings(guest, seen := Seen())
    assert (seen.notices(), root.read("mounted")) == ([], "")
    assert f"one {tmp_path}/guest/one virtiofs" in root.read("etc/fstab")


def test_a_mount_in_a_drive_waits_for_the_drive(guest: LocalGuest, root: Root, tmp_path: Path) -> None:
    guest.config = with_mounts(guest.config, tmp_path, "one")
    reconfigure(guest, filesystems=(Filesystem("ext4", ("data",), str(tmp_path / "guest")),))
    guest.started = start_of(guest.config)
    update_settings(guest, Seen())
    assert root.read("mounted") == ""
    (root.path / "mounted").write_text(f"{tmp_path}/guest\n")
    update_settings(guest, Seen())
    assert root.read("mounted").splitlines()[-1] == f"{tmp_path}/guest/one"


def test_another_mode_is_a_remount(guest: LocalGuest, root: Root, tmp_path: Path) -> None:
    guest.config = with_mounts(guest.config, tmp_path, "one")
    guest.started = start_of(guest.config)
    update_settings(guest, Seen())
    reconfigure(guest, mounts=tuple(dataclasses.replace(mount, readonly=True) for mount in guest.config.mounts))
    root.calls.clear()
    update_settings(guest, seen := Seen())
    assert f"mount -o remount,ro {tmp_path}/guest/one" in root.calls
    assert seen.notices() == [f"{tmp_path}/one is mounted at {tmp_path}/guest/one, read-only"]


@pytest.mark.parametrize(
    ("stub", "body", "reason"),
    [
        (
            "grep",
            'case "$*" in *virtiofs*) exit 1 ;; *) exec /usr/bin/grep "$@" ;; esac',
            "has no virtiofs",
        ),
        ("mount", "echo mount: wrong fs type >&2; exit 32", "mount: wrong fs type"),
        ("mountpoint", "", "something else is mounted there, virtiofs:other"),
    ],
)
def test_without_its_mount_the_vm_is_not_provisioned(
    guest: LocalGuest, root: Root, tmp_path: Path, stub: str, body: str, reason: str
) -> None:
    root.stub(stub, body)
    (root.path / "tag").write_text("other\n")
    guest.config = with_mounts(guest.config, tmp_path, "one")
    guest.started = start_of(guest.config)
    with pytest.raises(GuestError, match=f"mounting {tmp_path}/guest/one in the guest of VM demo failed: .*{reason}"):
        update_settings(guest, Seen())


def test_the_program_is_there() -> None:
    assert os.path.exists(PROGRAM)
