"""`rum up` on a terminal, as its user sees it: the real command, a real agent, a terminal that is emulated."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from e2e.screen import Screen, without_times
from rum.host.channel.client import open_agent
from rum.host.deadlines import Deadline
from tests.unit.host.local_guest import CHECKOUT, LocalGuest, local_guest, script_toml

PROGRAM = str(Path(__file__).parents[1] / "cli_with_agent.py")
COLOUR = re.compile(rb"\x1b\[[0-9;]*\b(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])[0-9;]*m")

HEAD = [
    "✓ image    cached debian-12 T",
    "• VM demo runs already; accelerator tcg, transport vhost-user",
    "✓ boot T",
]
UP = "next: `rum ssh`, `rum exec -- COMMAND`"


class Gates:
    """Files that scripts wait for, so that a test sees them at work for as long as it wants to."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def wait(self, name: str) -> str:
        """The shell command of the script."""
        return f"while ! [ -e {self._directory / name} ]; do sleep 0.05; done"

    def open(self, name: str) -> None:
        """Let the script go on."""
        (self._directory / name).touch()


@pytest.fixture
def gates(tmp_path: Path) -> Gates:
    return Gates(tmp_path)


def up(
    guest: LocalGuest, *arguments: str, env: Mapping[str, str] | None = None, columns: int = 80, rows: int = 24
) -> Screen:
    return screen_of([sys.executable, PROGRAM, *(arguments or ("up",))], guest, env or {}, columns, rows)


def screen_of(command: list[str], guest: LocalGuest, env: Mapping[str, str], columns: int, rows: int) -> Screen:
    given = {"PYTHONPATH": str(CHECKOUT), "RUM_TEST_GUEST": guest.described(), **env}
    return Screen(command, given, guest.config.path.parent, columns=columns, rows=rows)


def agent_line(guest: LocalGuest) -> str:
    with open_agent(guest.endpoint(), guest.key(), guest.vm_id(), Deadline(20)) as connection:
        status = connection.call("status")
    return f"✓ agent    rum-agent {status['agent_version']}, Python {status['python']} T"


def is_tidy(screen: Screen) -> bool:
    """Whether the terminal is as the command found it, its cursor at the start of an empty line."""
    return not screen.cursor_is_hidden and screen.echoes and screen.cursor_column == 0


@pytest.mark.parametrize("columns", [80, 200])
def test_what_is_done_is_one_line_each(tmp_path: Path, columns: int) -> None:
    toml = script_toml("one", "echo out; echo err >&2") + script_toml("two", "echo late", order=60, run_on="boot")
    with local_guest(tmp_path, toml) as guest, up(guest, columns=columns) as screen:
        assert screen.finish() == 0
        assert without_times(screen.rows) == [
            *HEAD,
            agent_line(guest),
            "✓ [1/2] one T",
            "✓ [2/2] two T",
            "VM demo is up: 2 scripts passed (T)",
            UP,
        ]
        assert is_tidy(screen)
        assert {len(row) for row in screen.rows if row.startswith("✓")} == {80}


def test_the_last_lines_of_what_runs_are_under_it(tmp_path: Path, gates: Gates) -> None:
    script = f"for n in $(seq 30); do echo line $n; done; echo oops >&2; {gates.wait('go')}"
    with local_guest(tmp_path, script_toml("one", script)) as guest, up(guest) as screen:
        screen.until_shown("┃ oops")
        assert screen.rows[-9].split()[1:5] == ["[1/1]", "one", "system", "script"]
        assert screen.rows[-8:-1] == [f"  │ line {number}" for number in range(24, 31)]
        assert screen.cursor_is_hidden
        assert not screen.echoes
        gates.open("go")
        assert screen.finish() == 0
        assert "line 30" not in screen.text
        assert is_tidy(screen)


def test_the_spinner_turns_and_time_passes_while_nothing_is_printed(tmp_path: Path, gates: Gates) -> None:
    with local_guest(tmp_path, script_toml("one", gates.wait("go"))) as guest, up(guest) as screen:
        screen.until_shown("[1/1] one")
        seen: set[str] = set()

        def has_moved() -> bool:
            seen.add(screen.rows[-1])
            return len({row[0] for row in seen}) > 3 and len({row[-5:] for row in seen}) > 2

        screen.until(has_moved, "movement")
        gates.open("go")
        assert screen.finish() == 0


def test_a_failed_script_shows_its_last_lines_once_how_it_ended_and_what_to_type(tmp_path: Path) -> None:
    script = "for n in $(seq 30); do echo line $n; done; echo the reason >&2; exit 7"
    with local_guest(tmp_path, script_toml("bad", script)) as guest, up(guest, rows=40) as screen:
        assert screen.finish() == 1
        assert without_times(screen.rows)[4:] == [
            "✗ [1/1] bad  failed with exit code 7 T",
            "rum: script 'bad' failed with exit code 7 after T",
            *[f"  | line {number}" for number in range(12, 31)],
            "  | the reason",
            "rum: fix it and run `rum up` again; the VM is still running",
        ]
        assert is_tidy(screen)


@pytest.mark.parametrize(
    ("script", "end"),
    [("kill -9 $$", "was killed by signal 9 (SIGKILL)"), ("sleep 600", "timed out")],
)
def test_signals_and_timeouts_have_names(tmp_path: Path, script: str, end: str) -> None:
    toml = script_toml("bad", script, more="timeout_s = 1")
    with local_guest(tmp_path, toml) as guest, up(guest) as screen:
        assert screen.finish() == 1
        assert f"✗ [1/1] bad  {end} T" in without_times(screen.rows)


def test_a_progress_bar_shows_its_last_state(tmp_path: Path, gates: Gates) -> None:
    script = f"printf '10 %%\\r50 %%\\r'; {gates.wait('go')}; printf '100 %%\\n'; {gates.wait('end')}"
    with local_guest(tmp_path, script_toml("one", script)) as guest, up(guest) as screen:
        screen.until_shown("│ 50 %")
        assert "10 %" not in screen.text
        gates.open("go")
        screen.until_shown("│ 100 %")
        assert "50 %" not in screen.text
        gates.open("end")
        assert screen.finish() == 0


def test_a_run_that_is_joined_is_shown_from_its_start_with_its_own_time(tmp_path: Path, gates: Gates) -> None:
    toml = script_toml("first", "echo done with it") + script_toml("long", f"echo begun; {gates.wait('go')}", order=60)
    with local_guest(tmp_path, toml) as guest:
        with up(guest) as screen:
            screen.until_shown("│ begun")
            screen.child.kill(signal.SIGTERM)
            assert screen.finish() == 143
            assert "│ begun" not in screen.text
            assert is_tidy(screen)
        with up(guest) as screen:
            screen.until_shown("goes on, from here live")
            screen.until_shown("│ begun")
            assert "✓ [1/2] first T" in without_times(screen.rows)
            gates.open("go")
            assert screen.finish() == 0
            assert "✓ [2/2] long T" in without_times(screen.rows)


def test_ctrl_c_cancels_and_leaves_a_tidy_terminal(tmp_path: Path, gates: Gates) -> None:
    with local_guest(tmp_path, script_toml("long", f"echo begun; {gates.wait('never')}")) as guest, up(guest) as screen:
        screen.until_shown("│ begun")
        screen.child.sendintr()
        assert screen.finish() == 130
        assert without_times(screen.rows)[4:] == [
            "warning: cancelling; press Ctrl+C again to leave at once",
            "✗ [1/1] long  was killed by signal 15 (SIGTERM) T",
            "rum: interrupted; the run was cancelled",
            "rum: VM demo is still running; `rum up` goes on where it stopped",
        ]
        assert is_tidy(screen)


def test_a_second_ctrl_c_leaves_at_once(tmp_path: Path, gates: Gates) -> None:
    stubborn = f"trap '' TERM; echo begun; {gates.wait('go')}"
    with local_guest(tmp_path, script_toml("long", stubborn)) as guest, up(guest) as screen:
        screen.until_shown("│ begun")
        screen.child.sendintr()
        screen.until_shown("press Ctrl+C again")
        screen.child.sendintr()
        assert screen.finish() == 130
        gates.open("go")
        assert screen.rows[5] == "- [1/1] long  system script"
        assert screen.rows[6].startswith("rum: interrupted")
        assert is_tidy(screen)


def test_sigterm_leaves_a_tidy_terminal(tmp_path: Path, gates: Gates) -> None:
    with local_guest(tmp_path, script_toml("long", f"echo begun; {gates.wait('go')}")) as guest, up(guest) as screen:
        screen.until_shown("│ begun")
        screen.child.kill(signal.SIGTERM)
        assert screen.finish() == 143
        assert "begun" not in screen.text
        assert is_tidy(screen)


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_back(tmp_path: Path, gates: Gates) -> None:
    toml = script_toml("long", f"echo begun; {gates.wait('go')}")
    command = ["bash", "--norc", "--noprofile", "-i"]
    with local_guest(tmp_path, toml) as guest, screen_of(command, guest, {"PS1": "ready> "}, 80, 24) as screen:
        screen.until_shown("ready>")
        screen.child.sendline(f"{sys.executable} {PROGRAM} up; echo exit=$?")
        screen.until_shown("│ begun")
        screen.child.send("\x1a")
        screen.until_shown("Stopped")
        screen.until(lambda: screen.rows[-1].startswith("ready>"), "a prompt")
        assert "│ begun" not in screen.text
        assert not screen.cursor_is_hidden
        screen.child.sendline("fg")
        screen.until_shown("│ begun")
        gates.open("go")
        screen.until_shown("is up: 1 script passed")
        screen.child.sendline("exit")
        assert screen.finish() == 0
        assert "│ begun" not in screen.text
        assert sum("[1/1] long" in row for row in screen.rows) == 1


def test_in_the_background_nothing_is_drawn_over_the_shell(tmp_path: Path, gates: Gates) -> None:
    toml = script_toml("long", f"echo begun; {gates.wait('go')}")
    command = ["bash", "--norc", "--noprofile", "-i"]
    with local_guest(tmp_path, toml) as guest, screen_of(command, guest, {"PS1": "ready> "}, 80, 24) as screen:
        screen.until_shown("ready>")
        screen.child.sendline(f"{sys.executable} {PROGRAM} up &")
        screen.until_shown("✓ agent")
        gates.open("go")
        screen.until_shown("is up: 1 script passed")
        assert b"\x1b[?25l" not in screen.raw
        assert "begun" not in screen.text
        screen.child.sendline("exit")
        screen.finish()


def test_another_size_in_the_middle(tmp_path: Path, gates: Gates) -> None:
    script = (
        f"for n in $(seq 30); do echo line $n {'x' * 100}; done; {gates.wait('go')}; echo later; {gates.wait('end')}"
    )
    with local_guest(tmp_path, script_toml("one", script)) as guest, up(guest, columns=120) as screen:
        screen.until_shown("│ line 30")
        screen.resize(60, 10)
        gates.open("go")
        screen.until_shown("│ later")
        assert max(map(len, screen.rows)) <= 60
        screen.resize(100, 30)
        gates.open("end")
        assert screen.finish() == 0
        assert not any("│" in line for line in screen.lines)
        assert is_tidy(screen)


def test_a_tiny_terminal(tmp_path: Path, gates: Gates) -> None:
    script = f"for n in $(seq 9); do echo line number $n of the output; done; {gates.wait('go')}"
    with local_guest(tmp_path, script_toml("one", script)) as guest, up(guest, columns=20, rows=5) as screen:
        screen.until_shown("│ line number 9 o…")
        assert [row.split()[0] for row in screen.rows[-3:]] == [screen.rows[-3][0], "│", "│"]
        assert "✓ boot         0.0 s" in [re.sub(r"\d\.\d", "0.0", row) for row in screen.lines]
        gates.open("go")
        assert screen.finish() == 0
        assert not any("│" in line for line in screen.lines)


def test_no_color(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("bad", "exit 7")) as guest:
        with up(guest, env={"NO_COLOR": "1"}) as screen:
            assert screen.finish() == 1
            assert not COLOUR.search(screen.raw)
            assert "✗ [1/1] bad  failed with exit code 7 T" in screen.text
        with up(guest, env={"NO_COLOR": ""}) as screen:
            assert screen.finish() == 1
            assert COLOUR.search(screen.raw)


def test_a_locale_without_such_marks(tmp_path: Path, gates: Gates) -> None:
    c_locale = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    script = f"echo 'gr\\303\\274n'; {gates.wait('go')}; exit 7"
    with local_guest(tmp_path, script_toml("bad", script)) as guest, up(guest, env=c_locale) as screen:
        screen.until_shown("| gr?n")
        gates.open("go")
        assert screen.finish() == 1
        assert "x [1/1] bad  failed with exit code 7 T" in screen.text
        assert screen.raw.isascii()


@pytest.mark.parametrize(
    ("arguments", "env"),
    [(("up",), {"TERM": "dumb"}), (("up",), {"TERM": ""}), (("-o", "plain", "up"), {})],
    ids=["dumb", "no-term", "plain"],
)
def test_plain_lines_where_nothing_can_or_shall_be_drawn(
    tmp_path: Path, arguments: tuple[str, ...], env: Mapping[str, str]
) -> None:
    with local_guest(tmp_path, script_toml("one", "echo out")) as guest, up(guest, *arguments, env=env) as screen:
        assert screen.finish() == 0
        assert b"\x1b" not in screen.raw
        assert "one | out" in screen.rows


def test_all_output_is_kept_with_v_and_ends_in_where_the_time_went(tmp_path: Path) -> None:
    script = "for n in $(seq 30); do echo line $n; done; echo oops >&2; printf unfinished"
    with local_guest(tmp_path, script_toml("one", script)) as guest, up(guest, "up", "-v") as screen:
        assert screen.finish() == 0
        lines = without_times(screen.lines)
        at = lines.index("one │ line 1")
        assert lines[at : at + 30] == [f"one │ line {number}" for number in range(1, 31)]
        assert {"one ┃ oops", "one │ unfinished"} <= {*lines[at:]}
        table = [line.split()[0] for line in lines[lines.index("✓ [1/1] one T") + 1 : -2]]
        assert table == ["image", "boot", "agent", "script", "total"]


def test_only_the_outcome_with_q(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "echo out")) as guest, up(guest, "-q", "up") as screen:
        assert screen.finish() == 0
        assert without_times(screen.rows) == ["VM demo is up: 1 script passed (T)"]
        assert b"\x1b" not in screen.raw


def shell(guest: LocalGuest, redirected: str) -> Screen:
    return screen_of(["sh", "-c", f"{sys.executable} {PROGRAM} up {redirected}"], guest, {}, 80, 24)


def test_standard_output_to_a_file_and_errors_on_the_terminal(tmp_path: Path) -> None:
    toml = script_toml("bad", "echo out; exit 7")
    with local_guest(tmp_path, toml) as guest, shell(guest, f">{tmp_path}/out") as screen:
        assert screen.finish() == 1
        assert b"\x1b" not in screen.raw
        assert screen.rows[1:] == ["  | out", "rum: fix it and run `rum up` again; the VM is still running"]
    assert "bad | out\n" in (tmp_path / "out").read_text()


def test_errors_to_a_file_and_standard_output_on_the_terminal(tmp_path: Path) -> None:
    toml = script_toml("bad", "echo out; exit 7")
    with local_guest(tmp_path, toml) as guest, shell(guest, f"2>{tmp_path}/err") as screen:
        assert screen.finish() == 1
        assert without_times(screen.rows)[-1] == "✗ [1/1] bad  failed with exit code 7 T"
        assert is_tidy(screen)
    told = (tmp_path / "err").read_text()
    assert "\x1b" not in told
    assert told.splitlines()[1:] == ["  | out", "rum: fix it and run `rum up` again; the VM is still running"]


def test_what_a_script_prints_cannot_reach_the_terminal_as_more_than_text(tmp_path: Path, gates: Gates) -> None:
    nasty = r"\033[2J\033]0;title\007\033[31mred[bold]x[/] :smile: \033[?1049h\302\2331mc1 \342\200\256rtl"
    script = f"printf '{nasty}\\n'; {gates.wait('go')}; exit 7"
    with local_guest(tmp_path, script_toml("bad", script)) as guest, up(guest) as screen:
        screen.until_shown("│ red[bold]x[/] :smile: 1mc1 rtl")
        gates.open("go")
        assert screen.finish() == 1
        assert "  | red[bold]x[/] :smile: 1mc1 rtl" in screen.rows
        for sequence in (b"\x1b[2J", b"\x1b]", b"\x1b[?1049h", b"\xc2\x9b", "\u202e".encode()):
            assert sequence not in screen.raw


def test_a_copy_shows_how_far_it_is_until_ctrl_c(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        # A hole: nobody waits for its end.
        file.truncate(4 << 30)
    copy = tmp_path / "copy"
    with local_guest(tmp_path) as guest, up(guest, "cp", f"{tmp_path}/large", f":{copy}") as screen:
        screen.until(lambda: re.search(r"[━─]{24} [0-9.]+ MiB of 4 GiB \(\d+ %\), ", screen.text) is not None, "bar")
        assert screen.cursor_is_hidden
        screen.child.sendintr()
        assert screen.finish() == 130
        assert screen.rows == ["rum: interrupted; what had arrived whole is kept, nothing is there by halves"]
        assert is_tidy(screen)
    assert not copy.exists()


def test_a_question_is_asked_on_a_terminal_that_nothing_is_drawn_on(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest, up(guest, "destroy") as screen:
        screen.until_shown("[y/N]")
        assert screen.echoes
        assert not screen.cursor_is_hidden
        screen.child.sendline("n")
        assert screen.finish() == 130


def test_a_pipe_gets_each_line_at_once_and_no_control_characters(tmp_path: Path, gates: Gates) -> None:
    script = f"printf '\\033[31mred\\033[0m 10 %%\\r20 %%\\n'; {gates.wait('go')}"
    with local_guest(tmp_path, script_toml("one", script)) as guest:
        env = {**os.environ, "PYTHONPATH": str(CHECKOUT), "RUM_TEST_GUEST": guest.described()}
        command = [sys.executable, PROGRAM, "up"]
        with subprocess.Popen(command, env=env, cwd=guest.config.path.parent, stdout=subprocess.PIPE) as process:
            assert process.stdout
            seen = [process.stdout.readline()]
            while not seen[-1].startswith(b"one |"):
                seen.append(process.stdout.readline())
            gates.open("go")
            seen += process.stdout.readlines()
        assert process.returncode == 0
    assert b"one | 20 %\n" in seen
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", b"".join(seen))
    assert seen[-1].startswith(b"VM demo is up: 1 script passed (")
