"""`rum` on a terminal with a real guest: what is to be seen while it works, and what is left when it has ended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from e2e.project import Project
from e2e.screen import Screen, without_times

COLUMNS, ROWS = 80, 24


@pytest.fixture
def scratch(vm: Project) -> Iterator[Project]:
    """The shared VM with scripts of these tests' own in its rum.toml, which is as it was afterwards."""
    file = vm.directory / "rum.toml"
    before = file.read_text()
    yield vm
    file.write_text(before)
    # The guest forgets what is not in the whole list any more.
    vm.up()


def with_boot_script(vm: Project, script: str) -> None:
    """A boot script beside what rum.toml has already."""
    file = vm.directory / "rum.toml"
    text = f"[[provision.script]]\nname = \"shown\"\norder = 300\nrun_on = \"boot\"\nscript = '''\n{script}\n'''\n"
    file.write_text(f"{file.read_text()}\n{text}")


@contextmanager
def typed(vm: Project, *arguments: str, patience_s: float = 120) -> Iterator[Screen]:
    """A command in a terminal of its own."""
    environment = {"XDG_STATE_HOME": vm.environment["XDG_STATE_HOME"], **vm.env}
    command = vm.command(*arguments)
    with Screen(command, environment, columns=COLUMNS, rows=ROWS, patience_s=patience_s * vm.patience) as screen:
        yield screen


def is_tidy(screen: Screen) -> bool:
    """Whether the terminal is as the command found it."""
    return screen.echoes and not screen.cursor_is_hidden and screen.cursor_column == 0


def test_a_vm_that_is_up_is_told_in_a_few_lines(vm: Project) -> None:
    with typed(vm, "up") as screen:
        assert screen.finish() == 0
        assert is_tidy(screen)
        lines = without_times(screen.rows)
    assert lines[0].startswith("• VM ")
    assert lines[1] == "✓ boot T"
    assert lines[2].startswith("✓ agent    rum-agent ")
    assert lines[-2].endswith("(T)")
    assert lines[-1].startswith("next: `rum ssh`")


def test_a_script_is_seen_at_work_and_becomes_a_line(scratch: Project) -> None:
    with_boot_script(
        scratch,
        r"printf '\033[31mred\033[0m [bold]\n10 %%\r50 %%\r'; while ! [ -e /run/go ]; do sleep 0.2; done; rm /run/go",
    )
    with typed(scratch, "provision", "--boot") as screen:
        screen.until_shown("│ 50 %")
        assert "│ red [bold]" in screen.text
        assert screen.cursor_is_hidden
        scratch.guest("touch /run/go")
        assert screen.finish() == 0
        assert is_tidy(screen)
    assert any(line.startswith("✓ [") and "] shown T" in line for line in without_times(screen.rows))
    assert "50 %" not in screen.text


def test_a_failure_shows_its_last_lines_once(scratch: Project) -> None:
    with_boot_script(scratch, "for n in $(seq 30); do echo line $n; done; exit 7")
    with typed(scratch, "provision", "--boot") as screen:
        assert screen.finish() == 1
        assert is_tidy(screen)
    assert [row for row in screen.rows if "line 30" in row] == ["  | line 30"]
    assert screen.rows[-1].startswith("rum: fix it and run `rum provision --boot` again")


def test_a_pipe_gets_plain_lines_and_with_q_the_outcome(scratch: Project) -> None:
    with_boot_script(scratch, r"printf '\033[31mred\033[0m\n10 %%\r50 %%\n'; echo odd >&2")
    piped = scratch.rum("provision", "--boot")
    assert piped.exit == 0, piped
    assert {"shown | red", "shown | 50 %", "shown ! odd"} <= set(piped.stdout.splitlines())
    assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f]", piped.stdout) == []
    quiet = scratch.rum("-q", "provision", "--all")
    assert (quiet.exit, quiet.stderr) == (0, "")
    assert re.fullmatch(r"VM \S+ is up: 3 scripts passed \(.+\)\n", quiet.stdout)


def test_destroy_asks_and_no_is_no(vm: Project) -> None:
    before = vm.boot_id()
    with typed(vm, "destroy") as screen:
        screen.until_shown("Remove it? [y/N]:")
        assert "root disk" in screen.text
        screen.child.sendline("n")
        assert screen.finish() == 130
        assert screen.rows[-1].startswith("rum: say -y") or "was not destroyed" in screen.text
    assert vm.boot_id() == before


def test_ctrl_c_leaves_a_tidy_terminal(scratch: Project) -> None:
    with_boot_script(scratch, "echo begun; sleep 600")
    with typed(scratch, "provision", "--boot") as screen:
        screen.until_shown("│ begun")
        screen.child.sendintr()
        assert screen.finish() == 130
        assert is_tidy(screen)
    assert "│ begun" not in screen.text
