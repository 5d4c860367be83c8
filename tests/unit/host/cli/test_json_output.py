"""`-o json`: whatever command, however it ends, standard output holds the documented lines and nothing else.

Each line that `json_lines` returns has been held against docs/json-schema.json.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rum.host.__main__ import main
from rum.host.cli.root import COMMANDS
from tests.unit.host.cli.in_process import Cli, rum_here
from tests.unit.host.cli.test_commands import command, json_lines
from tests.unit.host.local_guest import LocalGuest, local_guest, script_toml
from tests.unit.host.test_health import up

__all__ = ["rum_here"]

ARGUMENTS = {
    "exec": ["true"],
    "cp": [":/etc/hostname", "copy"],
    "config": ["check"],
    "image": ["list"],
    "ssh": ["true"],
    "wait": ["--timeout", "0.1"],
    "completion": ["bash"],
}
"""What a command cannot do without."""

IS_PLAIN = {"help"}
"""Help is text, whatever is asked for."""

ITS_OWN = {"proxy", "forward-ports"}
"""What rum itself calls."""

FOR_PROGRAMS = sorted(COMMANDS.keys() - IS_PLAIN - ITS_OWN)


def check_lines(status: int, output: bytes) -> list[dict[str, Any]]:
    """The lines, of which at most the last one is `done`; it tells the exit status, which is 0 without it."""
    lines = json_lines(output)
    assert all(line["type"] != "done" for line in lines[:-1])
    assert status == (lines[-1]["exit"] if lines and lines[-1]["type"] == "done" else 0)
    return lines


def lines_of(done: subprocess.CompletedProcess[bytes]) -> list[dict[str, Any]]:
    return check_lines(done.returncode, done.stdout)


@pytest.mark.parametrize("name", FOR_PROGRAMS)
def test_a_wrong_option(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    status = main(["-o", "json", name, "--nosuch"])
    [line] = json_lines(capfd.readouterr().out.encode())
    assert (status, line["type"], line["exit"], line["command"]) == (2, "done", 2, name)
    assert line["error"]["code"] in ("config", "usage")


@pytest.mark.parametrize("name", FOR_PROGRAMS)
def test_without_a_rum_toml(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("state", "cache"):
        monkeypatch.setenv(f"XDG_{kind.upper()}_HOME", str(tmp_path / kind))
    status = main(["-o", "json", name, *ARGUMENTS.get(name, [])])
    check_lines(status, capfd.readouterr().out.encode())


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    toml = script_toml("one", "echo out; echo err >&2") + script_toml("two", "true", run_on="boot", order=60)
    with local_guest(tmp_path_factory.mktemp("guest"), toml) as guest:
        assert up(guest).exit == 0
        yield guest


@pytest.mark.parametrize(
    "arguments",
    [
        ["-v", "up"],
        ["provision", "--all"],
        ["status"],
        ["logs"],
        ["logs", "--list"],
        ["exec", "--", "sh", "-c", "echo out; echo err >&2"],
        ["wait"],
        ["config", "check"],
        ["ssh-config"],
        ["down"],
        ["destroy", "-y"],
    ],
    ids=" ".join,
)
def test_what_ends_well(guest: LocalGuest, rum_here: Cli, arguments: list[str]) -> None:
    done = rum_here(guest, "-o", "json", *arguments)
    assert done.status == 0, done.err
    assert check_lines(done.status, done.out.encode())


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["exec", "--", "sh", "-c", "exit 7"], 7),
        (["exec", "--timeout", "0.1", "--", "sleep", "60"], 124),
        (["logs", "--run", "nosuch"], 2),
    ],
    ids=str,
)
def test_what_ends_badly(guest: LocalGuest, rum_here: Cli, arguments: list[str], status: int) -> None:
    done = rum_here(guest, "-o", "json", *arguments)
    assert (done.status, check_lines(done.status, done.out.encode())[-1]["exit"]) == (status, status)


def test_a_bug(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        settings = command(guest, "-o", "json", "status")
    settings["env"]["RUM_TEST_GUEST"] = "no description of a guest"
    settings["env"]["RUM_DEBUG"] = "1"
    done = subprocess.run(**settings, capture_output=True, timeout=60, check=False)
    [line] = lines_of(done)
    assert (line["error"]["code"], line["exit"]) == ("internal", 125)
    assert b"Traceback" in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal(tmp_path: Path, number: signal.Signals) -> None:
    with local_guest(tmp_path, script_toml("long", "echo begun; sleep 60")) as guest:
        settings = command(guest, "-o", "json", "up")
        with subprocess.Popen(**settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout
            seen = b""
            while b"begun" not in seen:
                seen += process.stdout.readline()
            process.send_signal(number)
            seen += process.stdout.read()
    assert check_lines(process.returncode, seen)[-1]["error"]["code"] == "interrupted"


def test_the_locale_does_not_matter(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("umlaut", "printf 'gr\\303\\274n \\360\\237\\220\\247\\n'")) as guest:
        settings = command(guest, "-o", "json", "up")
        settings["env"].update(LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
        done = subprocess.run(**settings, capture_output=True, timeout=60, check=False)
    assert "".join(line["text"] for line in lines_of(done) if line["type"] == "output") == "grün \U0001f427\n"
