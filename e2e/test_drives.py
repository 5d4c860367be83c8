"""A data disk: formatted once, mounted on every boot, found by its serial whatever is plugged beside it. One VM."""

from __future__ import annotations

import pytest

from e2e.conftest import MakeProject
from e2e.project import Project

ONE_DRIVE = """
[drives.data]
size = "64M"

[[fs.ext4]]
drive = "data"
target = "/srv/data one"

[provision.boot]
script = 'findmnt -n -o SOURCE "/srv/data one" && echo boot >> "/srv/data one/boots"'
"""

# Sorts before the first one, so that it takes its place in the order of disks.
SECOND_DRIVE = """
[drives.aaa]
size = "64M"

[[fs.ext4]]
drive = "aaa"
target = "/srv/aaa"
"""


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("drives")
    made.configure(ONE_DRIVE)
    made.up()
    return made


def uuid_of(project: Project, target: str) -> str:
    return project.guest(f"findmnt -n -o UUID '{target}'").strip()


@pytest.fixture(scope="module")
def uuid(project: Project) -> str:
    return uuid_of(project, "/srv/data one")


def test_is_formatted_and_mounted_before_the_boot_script(project: Project, uuid: str) -> None:
    assert project.guest("findmnt -n -o FSTYPE '/srv/data one'").strip() == "ext4"
    assert project.guest("cat '/srv/data one/boots'") == "boot\n"


def test_survives_down_and_up_with_its_data(project: Project, uuid: str) -> None:
    project.guest("echo precious > '/srv/data one/file'")
    assert project.rum("down").exit == 0
    project.up()
    assert uuid_of(project, "/srv/data one") == uuid
    assert project.guest("cat '/srv/data one/file' '/srv/data one/boots'") == "precious\nboot\nboot\n"


def test_a_second_drive_does_not_move_the_first(project: Project, uuid: str) -> None:
    project.configure(ONE_DRIVE + SECOND_DRIVE)
    assert project.rum("down").exit == 0
    project.up()
    assert uuid_of(project, "/srv/data one") == uuid
    assert project.guest("cat '/srv/data one/file'") == "precious\n"
    assert uuid_of(project, "/srv/aaa") not in ("", uuid)
    assert project.guest("ls /srv/aaa").split() == ["lost+found"]


def test_running_the_drives_script_again_changes_nothing(project: Project, uuid: str) -> None:
    fstab = project.guest("cat /etc/fstab")
    assert project.rum("provision", "--system").exit == 0
    assert project.guest("cat /etc/fstab") == fstab
    assert project.guest("cat '/srv/data one/file'") == "precious\n"
