"""A newer rum meets an older agent on a real guest: it is replaced over the channel, and nothing there notices."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import rum
from e2e.project import Outcome, Project, poll

NEWER = "99.0.0"

CONFIG = """
[provision.boot]
script = '''
echo boot >> /run/boots
(while echo alive; do echo >> /run/beats; sleep 0.2; done) &
'''
"""


@pytest.fixture(scope="module")
def project(worn: Project) -> Project:
    worn.configure(CONFIG)
    worn.up()
    return worn


@pytest.fixture(scope="module")
def newer(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The same project, driven by a rum of a later version."""
    site = tmp_path_factory.mktemp("newer")
    shutil.copytree(Path(rum.__file__).parent, site / "rum")
    package = site / "rum/__init__.py"
    package.write_text(package.read_text().replace(f'"{rum.__version__}"', f'"{NEWER}"'))
    return replace(
        project, program=(sys.executable, "-P", "-m", "rum.host"), env={**project.env, "PYTHONPATH": str(site)}
    )


@pytest.fixture(scope="module")
def upgraded(newer: Project) -> Outcome:
    """The first `rum up` of the newer rum."""
    return newer.up()


def agent_version(project: Project) -> str:
    return str(project.status()["agent"]["agent_version"])


def test_the_agent_is_replaced_and_the_user_is_told(newer: Project, upgraded: Outcome) -> None:
    notices = [event["text"] for event in upgraded.of_type("notice")]
    assert f"the VM's rum-agent {rum.__version__} was replaced by rum-agent {NEWER}" in notices
    assert agent_version(newer) == NEWER
    assert newer.guest("systemctl is-active rum-agent").strip() == "active"


def test_nothing_was_run_again_or_killed(newer: Project, upgraded: Outcome) -> None:
    assert newer.guest("cat /run/boots") == "boot\n"
    beats = int(newer.guest("wc -l < /run/beats"))
    for _ in poll(30 * newer.patience, "the background loop to go on"):
        if int(newer.guest("wc -l < /run/beats")) > beats:
            break


def test_it_is_done_once(newer: Project, upgraded: Outcome) -> None:
    assert not [event for event in newer.up().of_type("notice") if "replaced" in event["text"]]


def test_it_lasts(newer: Project, upgraded: Outcome) -> None:
    newer.rum("down")
    newer.up()
    assert agent_version(newer) == NEWER


def test_an_older_rum_leaves_the_newer_agent_alone(project: Project, upgraded: Outcome) -> None:
    project.up()
    assert agent_version(project) == NEWER
