"""Completion, in the shells themselves: what they offer, also where nothing can be read."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from rum.host.cli.completion import VARIABLE
from rum.host.cli.options import Options
from rum.host.cli.root import cli
from rum.host.config.identity import VmIdentity
from rum.host.images.cache import origin_path
from rum.host.images.catalogue import CATALOGUE
from rum.host.paths import VmPaths

CHECKOUT = Path(__file__).resolve().parents[4]

TOML = """
[image]
base = "debian-12"
[provision.system]
script = "true"
[[provision.script]]
name = "migrate"
order = 150
run_on = "system"
script = "true"
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """With `rum` in PATH, and with homes of its own."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/rum"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rum.host "$@"\n')
    program.chmod(0o755)
    homes = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("STATE", "CACHE", "CONFIG", "DATA")}
    path = f"{tmp_path / 'bin'}:/usr/bin:/bin"
    return {**os.environ, **homes, "HOME": str(tmp_path), "PATH": path, "PYTHONPATH": str(CHECKOUT), "TERM": "dumb"}


def script(shell: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["rum", "completion", shell], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return done.stdout


def offers(*words: str) -> list[str]:
    """What comes next on a line of words, of which the last one is half typed."""
    completer = ShellComplete(cli, {"obj": Options()}, "rum", VARIABLE)
    return [item.value for item in completer.get_completions(list(words[1:-1]), words[-1]) if item.type == "plain"]


def installed(shell: str) -> str:
    """The shell, which `./bootstrap test` installs."""
    found = shutil.which(shell)
    assert found, f"there is no {shell}: apt-get install {shell}"
    return found


def test_bash(environment: dict[str, str], tmp_path: Path) -> None:
    bash = """
        eval "$1"
        complete -p rum | grep -q _rum_completion || exit 9
        COMP_WORDS=(rum image pull debian-) COMP_CWORD=3
        _rum_completion rum debian- pull
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    command = [installed("bash"), "--norc", "-c", bash, "bash", script("bash", environment)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    assert done.stdout.split() == sorted(name for name in CATALOGUE if name.startswith("debian-"))


def test_fish(environment: dict[str, str], tmp_path: Path) -> None:
    fish = f"{script('fish', environment)}\ncomplete --do-complete 'rum image pull debian-'"
    command = [installed("fish"), "--no-config", "-c", fish]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    names = {name for name in CATALOGUE if name.startswith("debian-")}
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == names


def test_zsh(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "functions").mkdir()
    (tmp_path / "functions/_rum").write_text(script("zsh", environment))
    (tmp_path / ".zshrc").write_text(
        "fpath=($HOME/functions $fpath); autoload -Uz compinit; compinit -u -d $HOME/dump; PS1='ready> '\n"
    )
    with terminal([installed("zsh"), "-i"], {**environment, "ZDOTDIR": str(tmp_path)}, tmp_path) as keyboard:
        read_until(keyboard, "ready> ")
        os.write(keyboard, b"rum provisi\t--sys\t")
        read_until(keyboard, "rum provision --system ")


@contextlib.contextmanager
def terminal(command: list[str], environment: dict[str, str], cwd: Path) -> Iterator[int]:
    """The keyboard and screen of a program."""
    keyboard, program = pty.openpty()
    process = subprocess.Popen(
        command, cwd=cwd, env=environment, stdin=program, stdout=program, stderr=program, start_new_session=True
    )
    os.close(program)
    try:
        yield keyboard
    finally:
        process.kill()
        process.wait()
        os.close(keyboard)


def read_until(keyboard: int, text: str, within_s: float = 60) -> None:
    """Wait until the screen has shown a text, whatever moves the cursor in between."""
    seen = b""
    deadline = time.monotonic() + within_s
    while text not in re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]|.\x08", "", seen.decode("utf-8", "replace")):
        ready, _, _ = select.select([keyboard], [], [], deadline - time.monotonic())
        assert ready, f"{text!r} did not come within {within_s:.0f} s, but {seen!r}"
        seen += os.read(keyboard, 65536)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current directory, with homes of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    return tmp_path


def test_commands_and_options() -> None:
    assert offers("rum", "pro") == ["provision"]
    assert offers("rum", "image", "") == ["list", "pull", "remove"]
    assert "proxy" not in offers("rum", "")
    assert {"--system", "--boot", "--all", "--output"} <= set(offers("rum", "provision", "--"))
    assert offers("rum", "-o", "") == ["auto", "plain", "json"]
    assert offers("rum", "completion", "") == ["bash", "zsh", "fish"]
    assert offers("rum", "wait", "--for", "") == ["agent", "provisioned", "healthy"]


def test_files_are_the_shell_s_own() -> None:
    completer = ShellComplete(cli, {"obj": Options()}, "rum", VARIABLE)
    assert [item.type for item in completer.get_completions(["cp"], "no")] == ["file"]
    assert [item.type for item in completer.get_completions(["-c"], "")] == ["file"]
    assert completer.get_completions(["cp"], ":") == []


def test_scripts_of_this_rum_toml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "rum.toml").write_text(TOML)
    assert offers("rum", "logs", "--script", "") == ["system", "migrate"]
    assert offers("rum", "logs", "--script", "mi") == offers("rum", "provision", "--from", "mi") == ["migrate"]
    (here / "else").mkdir()
    monkeypatch.chdir(here / "else")
    (here / "else/other.toml").write_text("[drives.data]\n")
    assert offers("rum", "-c", "other.toml", "logs", "--script", "") == ["drives"]


def test_runs_of_this_vm(here: Path) -> None:
    (here / "rum.toml").write_text(TOML)
    assert offers("rum", "logs", "--run", "") == []
    runs = VmPaths.of(VmIdentity.of(here / "rum.toml")).runs
    runs.mkdir(parents=True)
    for index, name in enumerate(("000001-aaaaaa", "000002-bbbbbb")):
        (runs / f"{name}.rec").touch()
        os.utime(runs / f"{name}.rec", (index, index))
    assert offers("rum", "logs", "--run", "") == ["000002-bbbbbb", "000001-aaaaaa"]


def test_images_that_are_downloaded(here: Path) -> None:
    cache = here / "cache/rum/images"
    cache.mkdir(parents=True)
    (cache / "89ab-cdef.qcow2").touch()
    (cache / "0123-4567.qcow2").touch()
    (cache / "0123-4567.qcow2.part").touch()
    origin_path(cache / "0123-4567.qcow2").write_text('{"url": "https://example.org/d.qcow2", "name": "debian-12"}')
    assert offers("rum", "image", "remove", "") == ["89ab-cdef.qcow2", "debian-12"]


@pytest.mark.parametrize("text", ["[", "provision = 7", "[[provision.script]]\norder = 1", "\udc80", None])
def test_what_cannot_be_read_offers_nothing(here: Path, text: str | None) -> None:
    if text is not None:
        (here / "rum.toml").write_bytes(text.encode("utf-8", "surrogateescape"))
    for words in (("logs", "--script", ""), ("logs", "--run", ""), ("image", "remove", "")):
        assert offers("rum", *words) == []


def test_nothing_is_said_in_a_half_typed_line(environment: dict[str, str], tmp_path: Path) -> None:
    for words, shell in (("rum logs --script ''", "bash"), ("rum", "csh")):
        line = {"COMP_WORDS": words, "COMP_CWORD": "3", "_RUM_COMPLETE": f"{shell}_complete"}
        done = subprocess.run(
            ["rum"], cwd=tmp_path, env={**environment, **line}, capture_output=True, text=True, timeout=60, check=False
        )
        assert (done.stdout.strip(), done.stderr) == ("", "")


def test_an_unknown_shell_is_refused(environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["rum", "completion", "csh"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2
    assert "'bash', 'zsh', 'fish'" in done.stderr
