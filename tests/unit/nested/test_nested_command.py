"""`--require` of the end-to-end tests, and the command around the machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from e2e.conftest import require
from e2e.nested.__main__ import lacks
from rum.host import choose_accelerator, choose_transport

CHECKOUT = Path(__file__).parents[3]


def test_a_host_that_chooses_something_else_is_refused() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--collect-only", "-q"]
    # No host chooses both of these.
    command += ["--require", "kvm,tcg", "e2e/test_doctor.py"]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
    assert "--require kvm,tcg: rum chooses " in done.stderr
    assert "Traceback" not in done.stderr


def test_what_this_host_chooses_is_taken() -> None:
    require({choose_accelerator("auto").accelerator.value, choose_transport("auto").transport.value})
    require(set())


def test_a_host_that_has_both_runs_the_tests_itself_and_still_has_to_prove_it(tmp_path: Path) -> None:
    as_if = "import e2e.nested.__main__ as command; command.lacks = list"
    as_if += f"; command.main(['--collect-only', '--results', {str(tmp_path)!r}, 'e2e/test_doctor.py'])"
    done = subprocess.run([sys.executable, "-c", as_if], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if lacks():
        assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout + done.stderr
        assert "--require kvm,vhost-vsock: rum chooses " in done.stderr
    else:
        assert done.returncode == 0, done.stderr


def test_help_says_what_is_whose() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "e2e.nested", "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    for option in ("--emulate", "--within", "--processors", "--memory", "--results", "--with-image", "goes to pytest"):
        assert option in done.stdout
