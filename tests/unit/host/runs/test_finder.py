"""Runs are found wherever they can be had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from rum.host.errors import HostError
from rum.host.runs.logs import Wanted, list_runs, logs
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
