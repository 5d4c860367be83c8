"""What is measured on a guest: the commands are real processes, in place of rum."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from e2e.bench.growth import guest
from e2e.project import Project
from rum.host.config.load import load_config

WRITES = "import sys; sys.stdout.write('x' * int(sys.argv[3])); sys.exit(int(sys.argv[4]))"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    (tmp_path / "image.qcow2").touch()
    return Project(tmp_path, str(tmp_path / "image.qcow2"), 1, program=(sys.executable, "-c", WRITES))


def test_scripts_of_one_run_are_not_those_of_another(project: Project) -> None:
    guest.configure(project, {"of-2-0": ":", "of-2-1": f"yes {guest.LINE} | head -c 10"})
    scripts = load_config(project.directory / "rum.toml").scripts
    assert [(script.name, script.run_on.value) for script in scripts] == [("of-2-0", "boot"), ("of-2-1", "boot")]


def test_a_command_is_timed_to_its_end(project: Project) -> None:
    assert guest.timed(project, "3000000", "0", prints=3_000_000) > 0


def test_a_command_that_fails_has_no_time(project: Project) -> None:
    with pytest.raises(AssertionError, match="ended with 3"):
        guest.timed(project, "0", "3")


def test_output_that_is_not_whole_has_no_time(project: Project) -> None:
    with pytest.raises(AssertionError, match="99 bytes came, not 100"):
        guest.timed(project, "99", "0", prints=100)
