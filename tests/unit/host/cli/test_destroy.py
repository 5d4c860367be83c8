"""`rum destroy` and `rum down` as a user types them, with VMs that are files only."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from e2e.json_lines import checked
from rum.host.qemu_img import create_qcow2
from tests.unit.host.cli.test_commands import command, rum
from tests.unit.host.test_vm_list import Home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home.of(tmp_path, monkeypatch)


def on_a_terminal(project: Path, answer: bytes, *arguments: str) -> tuple[int, str]:
    """The exit status and what was shown of a command whose user answers."""
    ours, theirs = pty.openpty()
    settings = {**command(None, *arguments), "cwd": project}
    with subprocess.Popen(**settings, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        os.write(ours, answer)
        shown = b""
        try:
            while piece := os.read(ours, 4096):
                shown += piece
        except OSError:
            # The terminal's last user has gone (tty_ioctl(4)).
            pass
    os.close(ours)
    return process.returncode, shown.decode()


def test_it_shows_what_goes_and_asks(home: Home) -> None:
    paths = home.make("demo")
    create_qcow2(paths.drive("data"), 10 << 30)
    project = home.directory / "demo"
    status, shown = on_a_terminal(project, b"n\n", "destroy")
    assert status == 130
    assert f"VM demo of {project}/rum.toml goes, with" in shown
    assert "root disk" in shown
    assert "data (10 GiB)" in shown
    assert "the copies of its runs stay" in shown
    assert "was not destroyed" in shown
    assert paths.state_file.exists()
    status, shown = on_a_terminal(project, b"y\n", "destroy")
    assert (status, "VM demo is destroyed with its drive data (10 GiB)" in shown) == (0, True)
    assert not paths.state.exists()
    assert (project / "rum.toml").exists()


NO_SOURCE = "[image]\nbase = 'debian-12'\n[[mounts]]\nsource = 'gone'\ntarget = '/srv'\n"


@pytest.mark.parametrize("text", ["this is no TOML", NO_SOURCE, None])
def test_neither_needs_a_rum_toml_that_is_right(home: Home, text: str | None) -> None:
    paths = home.make("demo")
    file = home.directory / "demo/rum.toml"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    arguments = ("-c", str(file), "-o", "json")
    for name in (["down"], ["destroy", "-y"]):
        done = rum(None, *arguments, *name, cwd=home.directory)
        assert done.returncode == 0, done.stderr
        assert checked(done.stdout.splitlines()[-1])["ok"] is True
    assert not paths.state.exists()


def test_without_a_terminal_it_needs_y(home: Home) -> None:
    paths = home.make("demo")
    done = rum(None, "destroy", cwd=home.directory / "demo", given=b"y\n")
    assert (done.returncode, b"-y" in done.stderr) == (2, True)
    assert paths.state_file.exists()
