"""Directories of the host in the guest, from the first boot on. One VM, as a story."""

from __future__ import annotations

import dataclasses
import os
import subprocess
from pathlib import Path

import pytest

from e2e.conftest import MakeProject
from e2e.project import RUM, Outcome, Project, poll

ALICE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDExampleKeyOfAlice0000000000000000000000 alice"

FIXED = '/srv/it\'s "fixed" #1'

# `inside` lies in another mount, `on-drive` on a file system that is made on the first boot.
CONFIG = """
[user]
groups = ["crew"]

[ssh]
authorized_keys = ["@ALICE@"]

[drives.data]
size = "64M"

[[fs.ext4]]
drive = "data"
target = "/srv/data"

[[mounts]]
source = "shared"
target = "/srv/shared"

[[mounts]]
source = "it's $(fixed)"
target = '''/srv/it's "fixed" #1'''
readonly = true

[[mounts]]
source = "fixed, too"
target = "/srv/shared/inside"

[[mounts]]
source = "shared"
target = "/srv/data/on-drive"

[[mounts]]
source = "git"
target = "/srv/repository"

[[mounts]]
source = "shared"
target = "/home/rum/work/shared"

[[provision.script]]
name = "early"
order = 50
run_on = "boot"
after = "local-fs"
script = '''
set -e
cat '/srv/it'"'"'s "fixed" #1/file' /srv/shared/inside/file
echo boot >> /srv/data/on-drive/boots
'''
"""
CONFIG = CONFIG.replace("@ALICE@", ALICE)

EARLY_OUTPUT = "fixed\ninside\n"


@pytest.fixture(scope="module")
def project(make_project: MakeProject, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """rum.toml is in a directory of a git repository."""
    repository = tmp_path_factory.mktemp("repository")
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    made = make_project("mounts", directory=repository / "project")
    files = {"shared/from-host": "host\n", "it's $(fixed)/file": "fixed\n", "fixed, too/file": "inside\n"}
    for name, text in files.items():
        path = made.directory / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    made.configure(CONFIG)
    return made


def without_virtiofsd(project: Project) -> Project:
    """The same project on a host that has no virtiofsd; who runs rum stays the same."""
    hide = (
        'for file in "$(command -v virtiofsd)" /usr/libexec/virtiofsd /usr/lib/virtiofsd /usr/lib/qemu/virtiofsd; do '
    )
    hide += '[ ! -e "$file" ] || mount --bind /dev/null "$file" || exit 9; done; '
    hide += f'exec unshare --user --map-user={os.getuid()} --map-group={os.getgid()} "$@"'
    return dataclasses.replace(
        project, program=["unshare", "--map-root-user", "--mount", "sh", "-c", hide, "sh", str(RUM)]
    )


def boots(project: Project) -> int:
    """How often the boot script has been there, seen from the host."""
    return (project.directory / "shared/boots").read_text().count("boot")


def notices(outcome: Outcome) -> list[str]:
    return [event["text"] for event in outcome.of_type("notice")]


def own_files(directory: Path) -> set[str]:
    """The files below that belong to the user who runs this."""
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if (path.lstat().st_uid, path.lstat().st_gid) == (os.getuid(), os.getgid())
    }


class TestFirstBoot:
    def test_everything_is_mounted_before_the_first_boot_script(self, project: Project) -> None:
        outcome = project.up()
        assert outcome.output("early") == EARLY_OUTPUT
        assert boots(project) == 1
        source = project.directory / "it's $(fixed)"
        assert f"{source} is mounted at {FIXED}, read-only" in notices(outcome)
        assert project.guest("cat /srv/repository/project/shared/from-host") == "host\n"

    def test_cloud_init_has_made_the_account_with_its_groups_and_keys(self, project: Project) -> None:
        # The scripts have waited for nothing of cloud-init, so it may still be at it.
        project.guest("cloud-init status --wait || :")
        assert project.guest("id -un 1000; id -gn 1000").split() == ["rum", "rum"]
        assert project.guest("id -nG rum").split() == ["rum", "crew"]
        owners = project.guest("stat -c %U:%G /home/rum /home/rum/work /home/rum/.profile /home/rum/work/shared")
        assert owners.split() == ["rum:rum"] * 4, "the mount below it has waited for the home"
        keys = project.guest("cat /home/rum/.ssh/authorized_keys").splitlines()
        assert {key.split()[-1] for key in keys} == {f"rum-{project.state_dir.name}", "alice"}


class TestOwnership:
    def test_root_and_the_account_both_write_and_the_files_are_the_host_user_s(self, project: Project) -> None:
        project.guest("cd /srv/shared && mkdir by-root && echo root > by-root/file && echo more >> from-host")
        as_account = "cd /srv/shared && echo account > by-account && echo more >> by-root/file && mv from-host moved"
        assert project.rum("exec", "--user", "rum", "--", "sh", "-c", as_account).exit == 0
        shared = project.directory / "shared"
        assert {"by-root", "by-root/file", "by-account", "moved", "boots"} <= own_files(shared)
        assert (shared / "by-root/file").read_text() == "root\nmore\n"
        assert (shared / "moved").read_text() == "host\nmore\n"
        (shared / "moved").rename(shared / "from-host")

    def test_what_the_host_user_makes_is_the_account_s(self, project: Project) -> None:
        (project.directory / "shared/made-later").write_text("later")
        assert project.guest("stat -c %U:%G /srv/shared/made-later").strip() == "rum:rum"

    def test_programs_of_root_that_set_an_owner_work(self, project: Project) -> None:
        project.guest("tar -C /etc -cf - hostname | tar -C /srv/shared -xpf - && chown 0:0 /srv/shared/hostname")
        assert "hostname" in own_files(project.directory / "shared")


class TestReadOnly:
    @pytest.mark.parametrize("first", ["true", 'mount -o remount,rw "$1"'])
    def test_nobody_in_the_guest_can_write(self, project: Project, first: str) -> None:
        script = f'{first}; cd "$1" && ! touch made 2>&1 && ! rm file 2>&1'
        outcome = project.rum("exec", "--", "sh", "-c", script, "sh", FIXED)
        assert outcome.exit == 0, outcome.stderr
        assert outcome.stdout.count("Read-only file system") == 2, outcome.stdout
        assert [path.name for path in (project.directory / "it's $(fixed)").iterdir()] == ["file"]


class TestReboot:
    def test_without_a_host_the_mounts_are_there_before_the_boot_script(self, project: Project) -> None:
        project.rum("exec", "--", "systemctl", "reboot")
        for _ in poll(120 * project.patience, "the boot script's second line"):
            if boots(project) == 2:
                break
        run_id = project.status()["last_run"]["run_id"]
        logs = project.rum("-o", "json", "logs", "--follow", "--run", run_id)
        assert logs.of_type("run_started")[-1]["trigger"] == "boot"
        assert logs.output("early").endswith(EARLY_OUTPUT)


class TestDaemons:
    def test_a_missing_virtiofsd_is_said_before_anything_is_made(self, make_project: MakeProject) -> None:
        # Beside a VM that runs: libvirtd is there, so this host without the program does not start one.
        bare = without_virtiofsd(make_project("bare"))
        bare.configure('[[mounts]]\nsource = "."\ntarget = "/srv/src"\n')
        outcome = bare.rum("up")
        assert outcome.exit == 3, outcome.stderr
        assert "there is no virtiofsd on this host" in outcome.stderr
        assert "install it" in outcome.stderr
        assert not bare.created

    def test_down_leaves_no_virtiofsd(self, project: Project) -> None:
        assert virtiofsd_of(project) != []
        assert project.rum("down").exit == 0
        assert virtiofsd_of(project) == []


def virtiofsd_of(project: Project) -> list[int]:
    """The processes that serve this VM's mounts."""
    runtime = Path(project.console_socket()).parent
    return [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if f"={runtime}/fs".encode() in read(path)
    ]


def read(path: Path) -> bytes:
    """The file of a process that may have ended."""
    try:
        return path.read_bytes()
    except OSError:
        return b""
