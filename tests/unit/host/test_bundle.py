"""The zipapp: the same bytes from the same sources, and nothing but those."""

from __future__ import annotations

import ast
import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import rum
from rum.host.bundle import build_agent_zipapp

SOURCES = Path(rum.__file__).parent


def build_from(directory: Path) -> bytes:
    """The zipapp that a checkout at another place makes."""
    code = "import sys; from rum.host.bundle import build_agent_zipapp; sys.stdout.buffer.write(build_agent_zipapp())"
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={"PYTHONPATH": str(directory)}, capture_output=True, check=True).stdout


def copy_sources(directory: Path) -> Path:
    ignore = shutil.ignore_patterns("__pycache__")
    for package in ("protocol", "agent", "host"):
        shutil.copytree(SOURCES / package, directory / "rum" / package, ignore=ignore)
    shutil.copy(SOURCES / "__init__.py", directory / "rum")
    return directory


def test_time_stamps_and_permissions_do_not_matter(tmp_path: Path) -> None:
    copies = [copy_sources(tmp_path / name) for name in ("a", "b")]
    for path in (copies[1] / "rum").rglob("*.py"):
        os.utime(path, (1_000_000_000, 1_000_000_000))
        path.chmod(0o755)
    (copies[1] / "rum/agent/__pycache__").mkdir()
    (copies[1] / "rum/agent/__pycache__/x.pyc").write_bytes(b"x")
    first, second = (build_from(directory) for directory in copies)
    assert first == second


def test_it_holds_the_guest_s_half_and_nothing_else() -> None:
    names = zipfile.ZipFile(io.BytesIO(build_agent_zipapp())).namelist()
    assert names == sorted(names)
    assert {"__main__.py", "rum/__init__.py", "rum/agent/__main__.py", "rum/protocol/frames.py"} <= set(names)
    assert {name.split("/")[1] for name in names if name.count("/") > 1} == {"agent", "protocol"}
    assert all(name.endswith(".py") for name in names)


def test_it_is_an_executable_for_isolated_python() -> None:
    assert build_agent_zipapp().startswith(b"#!/usr/bin/python3 -ISXutf8\nPK")


def test_docstrings_stay_at_home_and_every_line_keeps_its_number() -> None:
    with zipfile.ZipFile(io.BytesIO(build_agent_zipapp())) as zipped:
        for name in zipped.namelist():
            if name.startswith("rum/"):
                ours, theirs = (SOURCES.parent / name).read_text(), zipped.read(name).decode()
                assert shape(theirs) == shape(ours), name
                assert not any(ast.get_docstring(node) for node in documented(theirs)), name


def documented(source: str) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef]:
    """What may have a docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield node


def shape(source: str) -> list[tuple[type[ast.AST], int]]:
    """The statements that do something, each with its line."""
    return [
        (type(node), node.lineno)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
    ]


def test_it_is_small() -> None:
    assert len(build_agent_zipapp()) < 100 * 1024


def test_entries_have_fixed_attributes() -> None:
    for entry in zipfile.ZipFile(io.BytesIO(build_agent_zipapp())).infolist():
        assert (entry.compress_type, entry.create_system) == (zipfile.ZIP_DEFLATED, 3)
        assert (entry.date_time, entry.external_attr) == ((1980, 1, 1, 0, 0, 0), 0o100644 << 16)
