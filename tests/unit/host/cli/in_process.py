"""The command line in the test's own process, for tests that call it often; a guest stands in for the VM as ever."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

import rum.host.vm.known
import rum.host.vm.machine
from rum.host.__main__ import main
from tests.unit.host.cli_with_agent import LocalMachine, LocalVm
from tests.unit.host.local_guest import LocalGuest

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    def require_clean(self) -> None:
        """No control sequences, no traceback, no talk of bugs, and not much of it."""
        shown = self.out + self.err
        assert UNSAFE.search(shown) is None, ascii(shown)
        assert "Traceback" not in shown
        assert "bug in rum" not in shown
        assert max(map(len, shown.splitlines()), default=0) < 25_000


Cli = Callable[..., Ended]


@pytest.fixture
def rum_here(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """Takes a guest and the arguments."""
    monkeypatch.setattr(rum.host.vm.known, "KnownVm", LocalVm)
    monkeypatch.setattr(rum.host.vm.machine, "Machine", LocalMachine)

    def call(guest: LocalGuest, *arguments: str) -> Ended:
        monkeypatch.setenv("RUM_TEST_GUEST", guest.described())
        monkeypatch.chdir(guest.config.path.parent)
        capfd.readouterr()
        status = main(list(arguments))
        return Ended(status, *capfd.readouterr())

    return call
