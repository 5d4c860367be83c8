"""Runs are found wherever they can be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rum.host.errors import GuestError, HostError
from rum.host.runs.follow import follow
from rum.host.runs.logs import Wanted, list_runs, logs
from tests.unit.host.channel.hostile_agent import Play, hostile_guest, run, saying
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest, script_toml
from tests.unit.host.runs.test_provisioning import up


@dataclass
class WithoutLibvirt(LocalGuest):
    """A VM of which nobody can say whether it runs."""

    def is_running(self) -> bool:
        raise HostError("libvirt cannot be reached")


def test_a_libvirt_that_does_not_answer_hides_no_copies(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "echo text")) as guest:
        up(guest, Seen())
        lost = WithoutLibvirt(guest.config, guest.paths, guest.directory)
        for wanted in (Wanted(), Wanted(run_id="000001"), Wanted(script="one")):
            logs(lost, seen := Seen(), wanted)
            assert seen.output() == b"text\n"
            assert "libvirt cannot be reached; what follows is from the host's copies" in seen.notices()
        assert [run.on_host for run in list_runs(lost, Seen())] == [True]
        with pytest.raises(HostError, match="libvirt cannot be reached"):
            logs(lost, Seen(), Wanted(run_id="000002"))
        with pytest.raises(HostError, match="libvirt cannot be reached"):
            logs(lost, Seen(), Wanted(failed=True))


OLD: dict[str, Play] = {
    "runs": saying({"type": "error", "code": "unknown-method", "message": "no method 'runs'"}),
    "attach": run(),
}


def test_an_agent_that_is_too_old_to_list_its_runs(tmp_path: Path) -> None:
    with hostile_guest(tmp_path, OLD) as (guest, _):
        for look in (lambda: list_runs(guest, Seen()), lambda: follow(guest, Seen(), None, lambda: None)):
            with pytest.raises(GuestError, match="older than this rum, and cannot list its runs") as raised:
                look()
            assert raised.value.hint == "`rum up` replaces the agent"
        logs(guest, seen := Seen(), Wanted())
        assert seen.types()[-1] == "result"
        assert [run.in_guest for run in list_runs(guest, seen)] == [False]
        assert "cannot list its runs; what follows is from the host's copies" in seen.notices()[-1]
