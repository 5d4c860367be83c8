"""The byte code that the agent keeps for its next start: what is in it, when it is used, and who writes it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from importlib.util import MAGIC_NUMBER
from pathlib import Path

import pytest

from rum.agent import compiled
from rum.agent.loop import Loop
from rum.agent.settings import Settings
from rum.host.bundle import MAIN, build_agent_zipapp
from tests.unit.agent.harness import children

KEPT_IN = b"/var/lib/rum/compiled"


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """The directory that byte code is kept in."""
    return tmp_path / "state" / "compiled"


@pytest.fixture
def archive(tmp_path: Path, kept: Path) -> Path:
    """The zipapp, but for where it looks for byte code."""
    assert KEPT_IN in MAIN
    path = tmp_path / "rum-agent"
    with zipfile.ZipFile(io.BytesIO(build_agent_zipapp())) as real, zipfile.ZipFile(path, "w") as changed:
        for name in real.namelist():
            changed.writestr(name, real.read(name).replace(KEPT_IN, os.fsencode(kept)))
    return path


def place(archive: Path, kept: Path) -> Path:
    """Where the zipapp looks."""
    about = archive.stat()
    return kept / f"{MAGIC_NUMBER[:2].hex()}-{about.st_size}-{about.st_mtime_ns}.zip"


def isolated(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-I", "-S", *arguments], capture_output=True, text=True, check=False)


def write(archive: Path, path: Path) -> None:
    done = isolated("-c", compiled.PROGRAM, str(archive), str(path))
    assert (done.returncode, done.stderr) == (0, "")


def test_it_holds_every_module_and_all_of_them_come_from_it(archive: Path, kept: Path) -> None:
    path = place(archive, kept)
    write(archive, path)
    names = zipfile.ZipFile(archive).namelist()
    assert zipfile.ZipFile(path).namelist() == [f"{name}c" for name in names]
    program = f"import sys; sys.path[:0] = [{str(path)!r}]; import rum.agent.__main__\n"
    program += "print({module.__loader__.archive for name, module in sys.modules.items() if name.startswith('rum')})"
    done = isolated("-c", program)
    assert (done.stdout, done.stderr) == (f"{ {str(path)} }\n", "")


def test_the_zipapp_starts_from_it(archive: Path, kept: Path) -> None:
    assert isolated(str(archive), "--help").stdout.startswith("usage: rum-agent")
    kept.mkdir(parents=True)
    with zipfile.ZipFile(place(archive, kept), "w") as other:
        other.writestr("rum/__init__.py", "raise SystemExit('from the other one')")
    assert isolated(str(archive), "--help").stderr == "from the other one\n"


def test_what_is_of_another_zipapp_is_not_used(archive: Path, kept: Path) -> None:
    kept.mkdir(parents=True)
    with zipfile.ZipFile(place(archive, kept), "w") as other:
        other.writestr("rum/__init__.py", "raise SystemExit('from the other one')")
    os.utime(archive, ns=(1, 1))
    done = isolated(str(archive), "--help")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: rum-agent")


def test_those_of_other_agents_are_removed(archive: Path, kept: Path) -> None:
    kept.mkdir(parents=True)
    (kept / "cpython-39-1-1.zip").write_bytes(b"old")
    write(archive, place(archive, kept))
    assert list(kept.iterdir()) == [place(archive, kept)]


def test_where_it_cannot_be_written_nothing_is_said(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "state").write_text("in the way")
    write(archive, tmp_path / "state" / "compiled" / "x.zip")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of a guest whose cloud-init is at work."""
    (tmp_path / "run/cloud-init").mkdir(parents=True)
    return Settings(root=str(tmp_path))


def test_an_agent_has_it_written_once_when_cloud_init_has_finished(
    archive: Path, kept: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place(archive, kept)
    monkeypatch.setattr(compiled, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(compiled, "find_archive", lambda: str(archive))
    monkeypatch.setattr(sys, "path", [str(path), *sys.path])
    loop, others = Loop(), children()

    def finish() -> None:
        assert children() == others
        Path(settings.path("/run/cloud-init/result.json")).touch()

    def look() -> None:
        # It is there, and its writer has been waited for.
        loop.stop() if path.exists() and children() == others else loop.call_later(0.01, look)

    compiled.keep_compiled(loop, settings)
    loop.call_later(0.2, finish)
    loop.call_later(0.2, look)
    loop.run()
    compiled.keep_compiled(loop, settings)
    assert loop._next_due(0) is None


def test_an_agent_that_runs_from_its_sources_keeps_none(settings: Settings) -> None:
    loop = Loop()
    compiled.keep_compiled(loop, settings)
    assert loop._next_due(0) is None
