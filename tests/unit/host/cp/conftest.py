"""The command line in this process, and one guest for a module."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rum.host.vm.known
from rum.host.__main__ import main
from tests.unit.host.cli.in_process import Ended
from tests.unit.host.cli_with_agent import LocalVm
from tests.unit.host.local_guest import LocalGuest, local_guest

Cp = Callable[..., Ended]
CpOf = Callable[[LocalGuest], Cp]


@pytest.fixture
def cp_of(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[CpOf]:
    """`rum cp` for a guest, in the test's directory."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    monkeypatch.setattr(rum.host.vm.known, "KnownVm", LocalVm)

    def of(guest: LocalGuest) -> Cp:
        def cp(*arguments: object, before: tuple[str, ...] = ()) -> Ended:
            monkeypatch.setenv("RUM_TEST_GUEST", guest.described())
            monkeypatch.chdir(tmp_path)
            capfd.readouterr()
            status = main(["-c", str(guest.config.path), *before, "cp", *map(str, arguments)])
            return Ended(status, *capfd.readouterr())

        return cp

    yield of
    resource.setrlimit(resource.RLIMIT_NOFILE, limit)


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    """An agent that runs; its file system is this one."""
    with local_guest(tmp_path_factory.mktemp("guest")) as running:
        yield running


@pytest.fixture
def cp(cp_of: CpOf, guest: LocalGuest) -> Cp:
    """`rum cp` with that guest."""
    return cp_of(guest)


@pytest.fixture
def guest_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    """An agent that the test may ill-treat."""
    with local_guest(tmp_path_factory.mktemp("guest")) as running:
        yield running
