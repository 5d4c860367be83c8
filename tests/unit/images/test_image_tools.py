"""Tools of a build: their output is kept, a failure quotes it, and an interrupted one leaves nobody behind."""

import os
import signal
import sys
from pathlib import Path

import pytest

from e2e.images.errors import ImageError
from e2e.images.tools import Tools


@pytest.fixture
def tools(tmp_path: Path) -> Tools:
    return Tools(("env", "AS_ROOT=yes"), tmp_path / "build.log")


def test_output_of_all_tools_is_in_the_log(tools: Tools) -> None:
    tools.run("sh", "-c", "echo one; echo two >&2")
    tools.run("echo", "three")

    assert tools.log.read_text().split("\n") == [
        *("", "+ sh -c echo one; echo two >&2", "one", "two"),
        *("", "+ echo three", "three", ""),
    ]


def test_standard_input(tools: Tools) -> None:
    tools.run("cat", stdin=b"given\n")

    assert tools.log.read_text().endswith("given\n")


def test_as_root_is_behind_the_prefix_and_gets_its_environment(tools: Tools) -> None:
    tools.run_as_root("sh", "-c", 'echo "$AS_ROOT $EXTRA"', env={"EXTRA": "too"})

    assert tools.log.read_text().endswith("yes too\n")


def test_files_are_readable_by_all_whatever_the_umask(tools: Tools, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        tools.run("touch", str(tmp_path / "file"))
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o644


def test_a_failure_quotes_the_last_error(tools: Tools) -> None:
    with pytest.raises(ImageError) as failure:
        tools.run_as_root("sh", "-c", "echo 'E: no such package.'; echo 'I: cleaning up'; exit 25")

    assert str(failure.value) == (f"sh failed (status 25): E: no such package; everything it said is in {tools.log}.")


def test_a_failure_without_an_error_quotes_the_last_line(tools: Tools) -> None:
    with pytest.raises(ImageError, match=r"status 1\): first\\? second; every"):
        tools.run("sh", "-c", "echo 'first second'; echo; exit 1")


def test_a_failure_without_a_word_quotes_the_command(tools: Tools) -> None:
    with pytest.raises(ImageError, match=r"^false failed \(status 1\): \+ false;"):
        tools.run("false")


def test_an_interrupted_tool_is_dead_before_its_caller_goes_on(tools: Tools, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    interrupt = (
        "import os, pathlib, signal\n"
        f"pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))\n"
        f"os.kill({os.getpid()}, signal.SIGUSR1)\n"
        "signal.pause()"
    )
    previous = signal.signal(signal.SIGUSR1, _interrupted)
    try:
        with pytest.raises(KeyboardInterrupt):
            tools.run(sys.executable, "-c", interrupt)
    finally:
        signal.signal(signal.SIGUSR1, previous)

    assert not Path("/proc", pid_file.read_text()).exists()


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt
