"""Every command of `rum` is driven by an end-to-end test."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from rum.host.cli.root import COMMANDS, SECTIONS

E2E = Path(__file__).resolve().parents[3] / "e2e"
DRIVERS = {"rum", "start", "command", "terminal", "typed"}
"""What the tests start a command with (e2e/project.py, terminal.py)."""


def started(source: str) -> Iterator[str]:
    """The commands that are started in a module: of each call, the first of its words that is one."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and called(node.func) in DRIVERS:
            words = [word.value for word in node.args if isinstance(word, ast.Constant)]
            yield from [str(word) for word in words if word in COMMANDS][:1]


def called(function: ast.expr) -> str:
    """The name of what is called, without what it belongs to."""
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def test_a_call_is_told_from_what_looks_like_one() -> None:
    source = "vm.rum('-o', 'json', 'exec', 'status'); typed(vm, 'up'); note('down'); vm.rum(*words)"
    assert list(started(source)) == ["exec", "up"]


def test_every_command_is_driven_with_a_real_guest() -> None:
    offered = {name for rows in SECTIONS.values() for row in rows for name in row}
    driven = {name for path in E2E.glob("test_*.py") for name in started(path.read_text(encoding="utf-8"))}
    assert offered - driven == set()
