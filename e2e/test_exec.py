"""Commands, shells and the console as their user has them: a terminal, signals, pipes. In a VM that others use, too."""

from __future__ import annotations

import shlex
import signal
import subprocess
from contextlib import closing

import pytest

from e2e.project import Project, heed_interrupts, poll
from e2e.terminal import status_of, terminal
from rum.host import open_guest

LOOP = "while :; do sleep 0.1; done"

SCREEN = """
import curses
def main(screen):
    while True:
        rows, cols = screen.getmaxyx()
        screen.erase()
        screen.addstr(0, 0, f"size {rows}x{cols}")
        screen.refresh()
        key = screen.getch()
        if key == ord("q"):
            return
curses.wrapper(main)
raise SystemExit(6)
"""


def begin(vm: Project, script: str) -> tuple[subprocess.Popen[bytes], bytes]:
    """A command that goes on in the guest, and the first line that it has printed."""
    process = subprocess.Popen(
        vm.command("exec", "--", "sh", "-c", script),
        env=vm.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout
    return process, process.stdout.readline()


class TestSignals:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
    def test_reach_the_command_and_its_end_is_ours(self, vm: Project, number: signal.Signals) -> None:
        process, said = begin(vm, "echo begun; exec sleep 1000")
        assert said == b"begun\n"
        process.send_signal(number)
        assert process.communicate(timeout=30 * vm.patience)[0] == b""
        assert process.returncode == 128 + number

    def test_reach_what_has_opened_a_session_of_its_own(self, vm: Project) -> None:
        """su(1) has systemd-logind move it, and what it runs, out of the command's cgroup."""
        process, said = begin(vm, "su - -c 'cat /proc/self/cgroup; exec sleep 4321'; true")
        assert b"/session-" in said
        process.terminate()
        process.communicate(timeout=30 * vm.patience)
        for _ in poll(30 * vm.patience, "the command of su to be gone"):
            if vm.rum("exec", "--", "pgrep", "-x", "-f", "sleep 4321").exit == 1:
                break

    def test_control_c_in_a_terminal_is_the_commands_to_handle(self, vm: Project) -> None:
        with terminal(vm, "exec", "--", "sh", "-c", f"trap 'echo cleaned up; exit 9' INT; echo begun; {LOOP}") as child:
            child.expect("begun")
            child.sendintr()
            child.expect("cleaned up")
            assert status_of(child) == 9


def test_a_python_program_runs_commands_in_it(vm: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", vm.environment["XDG_STATE_HOME"])
    guest = open_guest(vm.directory / "rum.toml")
    done = guest.run(["sh", "-c", "id -un; cat; echo sorry >&2; exit 3"], user="rum", stdin=b"given")
    assert (done.exit_code, done.text, done.stderr) == (3, "rum\ngiven", b"sorry\n")
    assert guest.run(["cat", "/proc/sys/kernel/random/boot_id"]).text == vm.boot_id()


def test_a_reader_that_has_enough_ends_the_command(vm: Project) -> None:
    # Under a name of its own, which yes(1) does not bear where all of coreutils is one program; and not on /run, which
    # is mounted noexec.
    endless = "/var/tmp/rum-exec-endless"
    vm.guest(f"cp /bin/sh {endless}")
    endlessly = vm.command("exec", "--", endless, "-c", "while :; do echo y; done")
    shell = f"set -o pipefail; {shlex.join(endlessly)} | head -n 1"
    done = subprocess.run(
        ["bash", "-c", shell],
        env=vm.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60 * vm.patience,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (141, b"y\n", b"")
    for _ in poll(30 * vm.patience, "the endless command to be gone"):
        if vm.rum("exec", "--", "pgrep", "-f", f"^{endless}").exit == 1:
            break
    vm.guest(f"rm {endless}")


def test_another_user_has_what_a_login_gives(vm: Project) -> None:
    script = 'echo $HOME $USER $LOGNAME $SHELL; id -un; pwd; test "$(id -nG)" = "$(id -nG rum)" && echo its groups'
    done = vm.rum("exec", "--user", "rum", "--", "sh", "-c", script)
    assert done.stdout.splitlines() == ["/home/rum rum rum /bin/bash", "rum", "/", "its groups"]
    assert done.exit == 0


def test_arguments_arrive_as_they_were_given(vm: Project) -> None:
    given = ["", "two words", "two\nlines", "*", "$HOME", "'", "--", "-c", "\u00e9"]
    assert vm.rum("exec", "--", "printf", r"%s\0", *given).stdout == "".join(f"{argument}\0" for argument in given)


def test_directory_variables_and_time_are_the_callers(vm: Project) -> None:
    said = ("exec", "--cwd", "/var/tmp", "--env", "GREETING=hello, guest", "--timeout", str(2 * vm.patience))
    done = vm.rum(*said, "--", "sh", "-c", 'pwd; echo "$GREETING"; exec sleep 1000')
    assert (done.exit, done.stdout) == (124, "/var/tmp\nhello, guest\n")


class TestTerminal:
    def test_a_program_that_fills_the_screen_follows_its_size(self, vm: Project) -> None:
        with terminal(vm, "exec", "-t", "--", "python3", "-c", SCREEN, size=(30, 90)) as child:
            child.expect("size 30x90")
            child.setwinsize(41, 123)
            child.expect("41x123")
            child.send("q")
            assert status_of(child) == 6

    def test_is_as_before_when_rum_is_ended(self, vm: Project) -> None:
        with terminal(vm, "exec", "-t", "--", "sh", "-c", "echo begun; exec sleep 1000") as child:
            child.expect("begun")
            assert not child.getecho()
            child.kill(signal.SIGTERM)
            child.expect("rum: ended by SIGTERM; the command does not go on in the guest")
            assert child.getecho()
            assert status_of(child) == 143


class TestShell:
    def test_is_a_login_with_job_control(self, vm: Project) -> None:
        with terminal(vm, "shell") as child:
            child.expect(r"rum@.*\$ ")
            child.sendline("shopt -q login_shell && echo login-$USER-$PWD-$TERM")
            child.expect("login-rum-/home/rum-xterm")
            # From inside the job: bash drops a Ctrl+C that comes while it still puts a job into the foreground.
            child.sendline("sh -c 'echo going; exec sleep 1000'")
            child.expect("going\r\n")
            child.sendintr()
            child.expect(r"\$ ")
            child.sendline("sh -c 'echo going; exec sleep 1000'")
            child.expect("going\r\n")
            child.send("\x1a")
            child.expect("Stopped")
            child.expect(r"\$ ")
            child.sendline("kill %1; fg; exit 5")
            assert status_of(child) == 5

    def test_of_root_with_a_script(self, vm: Project) -> None:
        done = vm.rum("shell", "--user", "root", stdin="whoami\npwd\nexit 4\n")
        assert (done.exit, done.stdout, done.stderr) == (4, "root\n/root\n", "")

    def test_saves_its_history_when_its_window_is_closed(self, vm: Project) -> None:
        with terminal(vm, "shell") as child:
            child.expect(r"rum@.*\$ ")
            child.sendline("echo remember-$((40 + 2))")
            child.expect("remember-42")
        for _ in poll(30 * vm.patience, "the shell's history"):
            if "remember-" in vm.rum("exec", "--user", "rum", "--", "cat", "/home/rum/.bash_history").stdout:
                break


class TestConsole:
    def test_shows_the_prompt_and_control_bracket_leaves(self, vm: Project) -> None:
        vm.wait_for_console("login: ", within_s=120)
        with terminal(vm, "console") as child:
            child.expect(r"Ctrl\+\] leaves")
            child.expect("login: ")
            child.send("\r")
            child.expect("login: ")
            refused = vm.rum("console")
            assert refused.exit == 4
            assert "somebody else is attached" in refused.stderr
            child.send("\x1d")
            assert status_of(child) == 0
        assert vm.guest("echo still here") == "still here\n"

    def test_serves_one_whoever_that_is(self, vm: Project) -> None:
        with closing(vm.open_console()):
            refused = vm.rum("console")
            assert (refused.exit, "somebody else is attached" in refused.stderr) == (4, True)
        with terminal(vm, "console") as child:
            child.expect(r"Ctrl\+\] leaves")
            child.send("\r")
            child.expect("login: ")
            child.send("\x1d")
            assert status_of(child) == 0
