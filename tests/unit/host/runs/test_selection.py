"""`rum provision --from`: which scripts, and never past one that the first boot still needs."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from e2e.json_lines import checked
from tests.unit.host.cli.in_process import Cli, rum_here
from tests.unit.host.cli.test_logs import going_on
from tests.unit.host.local_guest import LocalGuest, local_guest, script_toml, wait_until

__all__ = ["rum_here"]


def toml(third: str = "true") -> str:
    """Four scripts, out of order."""
    return "".join(
        script_toml(name, f"echo {name}; {text}", order=order, run_on=run_on)
        for name, text, order, run_on in (
            ("last", "true", 9, "boot"),
            ("second", "true", 5, "boot"),
            ("first", "true", 1, "system"),
            ("third", third, 7, "system"),
        )
    )


def ran(rum_here: Cli, guest: LocalGuest, *arguments: str) -> list[str]:
    done = rum_here(guest, "provision", "-o", "json", *arguments)
    assert done.status == 0, done.err
    lines = [checked(line) for line in done.out.splitlines()]
    result = [line for line in lines if line["type"] == "result"][-1]
    names: list[str] = result["ran"]
    return names


def provisioned(guest: LocalGuest) -> bool:
    return (guest.root / "var/lib/rum/.system-provisioned").exists()


def test_the_scripts_from_that_one_on(tmp_path: Path, rum_here: Cli) -> None:
    with local_guest(tmp_path, toml()) as guest:
        assert rum_here(guest, "up").status == 0
        assert ran(rum_here, guest, "--from", "second") == ["second", "third", "last"]
        assert ran(rum_here, guest, "--all", "--from", "third") == ["third", "last"]
        assert ran(rum_here, guest, "--boot", "--from", "second") == ["second", "last"]
        assert ran(rum_here, guest, "--system", "--from", "second") == ["third"]
        assert ran(rum_here, guest, "--system", "--from", "last") == []
        assert ran(rum_here, guest) == []


def test_in_the_first_boot_after_those_before_it_have_passed(tmp_path: Path, rum_here: Cli) -> None:
    fixed = tmp_path / "fixed"
    with local_guest(tmp_path, toml(f"test -e {fixed}")) as guest:
        assert rum_here(guest, "up").status == 1
        failed = rum_here(guest, "provision", "--from", "third")
        assert (failed.status, provisioned(guest)) == (1, False)
        assert "run `rum provision --from third` again" in failed.err
        fixed.touch()
        assert ran(rum_here, guest, "--from", "third") == ["third", "last"]
        assert provisioned(guest)
        assert ran(rum_here, guest) == []


def refused(rum_here: Cli, guest: LocalGuest) -> None:
    done = rum_here(guest, "provision", "--from", "third")
    assert done.status == 2
    assert done.err == (
        "rum: the first boot has not ended, and script 'first', which is before 'third', has not passed\n"
        "rum: `rum up` runs all of them, `rum provision --from first` those from that one on\n"
    )
    assert not provisioned(guest)


def test_in_a_first_boot_in_which_one_before_it_has_not_passed(tmp_path: Path, rum_here: Cli) -> None:
    with local_guest(tmp_path, toml()) as guest:
        refused(rum_here, guest)
        assert ran(rum_here, guest, "--system", "--from", "third") == ["third"]
        assert not provisioned(guest)
        assert ran(rum_here, guest, "--from", "first") == ["first", "second", "third", "last"]
        assert provisioned(guest)


def test_one_that_was_edited_has_not_passed(tmp_path: Path, rum_here: Cli) -> None:
    with local_guest(tmp_path, toml("exit 1")) as guest:
        assert rum_here(guest, "up").status == 1
        guest.config.path.write_text(guest.config.path.read_text().replace("echo first", "echo edited"))
        refused(rum_here, guest)


def test_one_that_was_cancelled_and_ended_with_0_has_not_passed(tmp_path: Path, rum_here: Cli) -> None:
    scripts = script_toml("first", "trap 'exit 0' TERM; echo here; while :; do sleep 0.05; done", order=1)
    with local_guest(tmp_path, scripts + script_toml("third", "true", order=3)) as guest:
        with going_on(guest, "up") as up:
            up.up_to("first | here")
            up.process.send_signal(signal.SIGINT)
            wait_until(lambda: up.process.poll() == 130, "the end")
        refused(rum_here, guest)


@pytest.mark.parametrize(("name", "said"), [("thrid", "'thrid'; did you mean third?"), ("x", "'x'")])
def test_a_script_that_there_is_not(tmp_path: Path, rum_here: Cli, name: str, said: str) -> None:
    with local_guest(tmp_path, toml(), started=False) as guest:
        guest.running = False
        done = rum_here(guest, "provision", "--from", name)
        assert done.status == 2
        assert done.err.splitlines()[0] == f"rum: there is no script {said}"
        assert done.err.splitlines()[1] == "rum: scripts in their order: first, second, third, last"
