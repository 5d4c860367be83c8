"""Readers of our output who pause, or go: nothing is lost, and nothing hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.host.cli.test_commands import command, rum
from tests.unit.host.local_guest import LocalGuest, local_guest, script_toml, wait_until

MANY = ["seq", "20000"]
"""Prints more than a pipe holds."""


def guest_with_a_long_run(directory: Path) -> contextlib.AbstractContextManager[LocalGuest]:
    return local_guest(directory, script_toml("many", " ".join(MANY), run_on="boot"))


def is_full(descriptor: int) -> bool:
    """Whether who writes to the pipe would have to wait."""
    return not select.select([], [descriptor], [], 0)[1]


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["logs"], b"[1/1] many ok"),
        (["-o", "json", "logs"], b'"type": "done"'),
        (["-o", "json", "exec", "--", *MANY], b'"type": "done"'),
        (["exec", "--", *MANY], b"20000"),
        (["cp", ":{}/many", "-"], b"20000"),
    ],
)
def test_one_that_somebody_made_nonblocking_loses_nothing(
    tmp_path: Path, arguments: Sequence[str], last: bytes
) -> None:
    (tmp_path / "many").write_bytes(b"".join(b"%d\n" % n for n in range(1, 20001)))
    with guest_with_a_long_run(tmp_path) as guest:
        assert rum(guest, "up").returncode == 0
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        settings = command(guest, *(word.format(tmp_path) for word in arguments))
        with subprocess.Popen(**settings, stdout=writing, stderr=subprocess.PIPE) as process:
            wait_until(lambda: is_full(writing) or process.poll() is not None, "the pipe to be full")
            os.close(writing)
            with open(reading, "rb") as pipe:
                lines = pipe.read().splitlines()
            assert process.wait(60) == 0
    assert last in lines[-1]
    assert arguments[:2] == ["-o", "json"] or len(lines) >= 20000


@pytest.mark.parametrize(
    ("arguments", "number"),
    [(["logs"], signal.SIGTERM), (["-o", "json", "logs"], signal.SIGINT), (["provision", "--all"], signal.SIGHUP)],
)
def test_one_that_pauses_keeps_no_signal_waiting(
    tmp_path: Path, arguments: Sequence[str], number: signal.Signals
) -> None:
    with guest_with_a_long_run(tmp_path) as guest:
        assert rum(guest, "up").returncode == 0
        reading, writing = os.pipe()
        with subprocess.Popen(**command(guest, *arguments), stdout=writing, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: is_full(writing), "the pipe to be full")
            os.close(writing)
            process.send_signal(number)
            assert process.wait(30) == 128 + number
        os.close(reading)


SAYS_ONE_THING = "echo one; exec sleep 600"


@pytest.mark.parametrize(
    "arguments",
    [
        ["exec", "--", "sh", "-c", SAYS_ONE_THING],
        ["-o", "json", "exec", "--", "sh", "-c", SAYS_ONE_THING],
        ["logs", "--follow"],
        ["logs", "--follow", "--run", "000001"],
    ],
)
def test_one_that_goes_is_noticed_while_the_guest_says_nothing(tmp_path: Path, arguments: Sequence[str]) -> None:
    with (
        local_guest(tmp_path, script_toml("one", SAYS_ONE_THING, run_on="boot")) as guest,
        subprocess.Popen(**command(guest, "up"), stdout=subprocess.DEVNULL) as running,
    ):
        wait_until(lambda: b"one" in rum(guest, "logs").stdout, "the run")
        with subprocess.Popen(**command(guest, *arguments), stdout=subprocess.PIPE) as process:
            assert process.stdout
            assert any(b"one" in line for line in iter(process.stdout.readline, b""))
            process.stdout.close()
            assert process.wait(30) == 141
        running.kill()
