"""`[[mounts]]` and every target in the guest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.host.config.load import load_config
from rum.host.config.model import Mount
from rum.host.config.mounts import default_tag
from tests.unit.host.config.config_text import MINIMAL, problems, write


def test_mounts(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    project = tmp_path / "project"
    for name in ("src", "git"):
        (project / name).mkdir(parents=True)
    config = load_config(
        write(
            project,
            MINIMAL
            + f"""
[[mounts]]
source = "src/"
target = "/all/project"
[[mounts]]
source = "git"
target = "/all"
readonly = true
tag = "everything"
[[mounts]]
source = "./git"
target = '/my "git"'
[[mounts]]
source = "{tmp_path}"
target = "/up"
[[mounts]]
source = "~"
target = "/home/me"
""",
        )
    )
    assert config.mounts == (
        Mount(tmp_path, "/all", "everything", readonly=True),
        Mount(project / "src", "/all/project", "all-project"),
        Mount(Path.home().resolve(), "/home/me", "home-me"),
        Mount(project / "git", '/my "git"', default_tag('/my "git"')),
        Mount(tmp_path, "/up", "up"),
    )


@given(st.lists(st.text(alphabet="ab-_./ ü\"'", min_size=1, max_size=60), min_size=2, max_size=2, unique=True))
def test_a_derived_tag_fits_the_device_and_is_the_targets_own(paths: list[str]) -> None:
    tags = [default_tag("/" + path) for path in paths]
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,35}", tag) for tag in tags)
    assert tags[0] != tags[1]


@pytest.mark.parametrize(
    ("target", "tag"),
    [
        ("/srv/data", "srv-data"),
        ("/data", "data"),
        ("/a-b", "a-b-[0-9a-f]{8}"),
        ("/.cache", "cache-[0-9a-f]{8}"),
        ("/\u65e5\u672c", "mount-[0-9a-f]{8}"),
        ("/" + "x" * 36, "x{36}"),
        ("/" + "x" * 37, "x{27}-[0-9a-f]{8}"),
    ],
)
def test_a_tag_shows_its_target(target: str, tag: str) -> None:
    assert re.fullmatch(tag, default_tag(target))


SYSTEMS_OWN = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/var/run",
    "/var/lib/rum",
    "/var/lib/cloud",
    "/etc/rum",
    "/etc/systemd",
]


IN_SIGHT = [
    *("/etc", "/usr", "/usr/local", "/usr/local/bin", "/usr/local/bin/rum-agent", "/bin", "/sbin", "/lib", "/lib64"),
    *("/boot", "/var", "/var/lib"),
]


FREE = [
    *("/data", "/home", "/home/me", "/opt", "/root", "/srv/a", "/tmp/x", "/mnt", "/etc/nginx", "/var/log"),
    *("/usr/local/src", "/boot/efi", "/proc2", "/devel"),
]


@pytest.mark.parametrize("target", [*SYSTEMS_OWN, *(f"{path}/below" for path in SYSTEMS_OWN), *IN_SIGHT])
def test_nothing_is_mounted_where_the_guest_would_not_work_any_more(tmp_path: Path, target: str) -> None:
    mount = f'[[mounts]]\nsource = "."\ntarget = "{target}"\n'
    [problem] = problems(tmp_path, MINIMAL + mount)
    assert problem.startswith(f'mounts[0].target = "{target}": ')
    assert problem.endswith(("belongs to the guest's system, nothing can be mounted there", "which the guest needs"))


@pytest.mark.parametrize("line", ['[[mounts]]\nsource = "link"\ntarget = "/srv"\n', 'base = "link"\n'])
def test_what_leads_to_a_name_that_libvirt_cannot_have_is_said(tmp_path: Path, line: str) -> None:
    os.mkdir(os.fsencode(tmp_path) + b"/\xe9t\xe9")
    os.symlink(b"\xe9t\xe9", os.fsencode(tmp_path) + b"/link")
    text = f"[image]\n{line}" if "base" in line else MINIMAL + line
    [problem] = problems(tmp_path, text)
    assert problem.endswith("leads to a path that is not UTF-8")


def test_everywhere_else_something_can_be_mounted(tmp_path: Path) -> None:
    mounts = "".join(f'[[mounts]]\nsource = "."\ntarget = "{target}"\n' for target in FREE)
    assert {mount.target for mount in load_config(write(tmp_path, MINIMAL + mounts)).mounts} == set(FREE)


def test_what_is_mounted_below_a_file_system_or_a_mount_comes_after_it(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + '[drives.a]\nsize = "1G"\n[[fs.ext4]]\ndrive = "a"\ntarget = "/srv"\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/app/deep"\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/app"\nreadonly = true\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/rw"\n'
            + '[[mounts]]\nsource = "."\ntarget = "/srv/rw/made-when-it-is-mounted"\n',
        )
    )
    assert [mount.target for mount in config.mounts] == [
        "/srv/app",
        "/srv/app/deep",
        "/srv/rw",
        "/srv/rw/made-when-it-is-mounted",
    ]
