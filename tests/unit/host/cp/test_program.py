"""What is sent to the guest: whole, self-contained, and small enough to be sent for every copy."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

from rum.host.cp.program import LOADER, MODULES, exec_params, guest_program, source
from rum.protocol import encode_message

CHECKOUT = Path(__file__).resolve().parents[4]


def imported(module: str) -> set[str]:
    """The modules of rum that a module imports when it is loaded."""
    nodes = ast.parse(source(module)).body
    return {str(node.module) for node in nodes if isinstance(node, ast.ImportFrom) and "rum." in str(node.module)}


def test_each_module_comes_after_those_that_it_imports() -> None:
    for index, module in enumerate(MODULES):
        assert imported(module) <= set(MODULES[:index]), module


def test_every_module_of_the_ends_is_sent() -> None:
    names = {f"rum.transfer.{path.stem}" for path in (CHECKOUT / "rum/transfer").glob("*.py")}
    assert names - set(MODULES) == {"rum.transfer.__init__"}


def test_it_runs_where_there_is_nothing_but_python(tmp_path: Path) -> None:
    """And copies: it is asked for a file that there is not."""
    program = guest_program()
    asked = encode_message({"type": "send", "paths": [f"{tmp_path}/missing"], "tries": 1})
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", LOADER, str(len(program))]
    done = subprocess.run(command, input=program + asked, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr == b""
    assert f"{tmp_path}/missing: No such file or directory".encode() in done.stdout


def test_its_size() -> None:
    assert len(guest_program()) < 100_000
    assert len(exec_params(guest_program(), None)["argv"][4]) < 1000
