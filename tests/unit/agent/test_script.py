"""How one script is run: what it is given, how it may end, what it may leave behind."""

from __future__ import annotations

import os

import pytest

from tests.unit.agent.harness import Agent, boot, is_running, subset, system, wait_until


class TestGiven:
    def test_the_environment_is_exactly_this(self, agent: Agent) -> None:
        content = "tr '\\0' '\\n' </proc/$$/environ"
        answer = agent.provision(system(content, env={"COLOUR": "ü red", "LANG": "C"}))
        assert set(answer.stdout.decode().splitlines()) == {
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "USER=root",
            "LOGNAME=root",
            "SHELL=/bin/sh",
            "LANG=C",
            "TERM=dumb",
            "DEBIAN_FRONTEND=noninteractive",
            "PYTHONUNBUFFERED=1",
            "RUM_SCRIPT=system",
            "RUM_RUN_ON=system",
            "RUM_FIRST_BOOT=1",
            "COLOUR=ü red",
        }

    def test_a_boot_script_knows_that_it_is_one(self, agent: Agent) -> None:
        agent.provision(system("true"))
        content = "echo $RUM_SCRIPT $RUM_RUN_ON $RUM_FIRST_BOOT $LANG"
        assert agent.provision(boot(content, "mine")).stdout == b"mine boot 0 C.UTF-8\n"

    def test_directory_mask_and_input(self, agent: Agent) -> None:
        content = "pwd; umask; readlink /proc/self/fd/0; cat; cut -d' ' -f6 /proc/$$/stat; echo $$"
        lines = agent.provision(system(content)).stdout.split()
        assert lines[:3] == [b"/", b"0022", b"/dev/null"]
        assert lines[3] == lines[4]

    def test_no_other_descriptor(self, agent: Agent) -> None:
        # 3 is the directory that ls reads.
        assert agent.provision(system("exec ls /proc/self/fd")).stdout == b"0\n1\n2\n3\n"

    def test_no_signal_is_ignored_or_blocked(self, agent: Agent) -> None:
        lines = agent.provision(system("grep -E '^Sig(Blk|Ign)' /proc/self/status")).stdout.split()
        assert [int(field, 16) for field in lines[1::2]] == [0, 0]

    def test_output_may_be_opened_by_name(self, agent: Agent) -> None:
        answer = agent.provision(system("echo one >/dev/stdout; echo two >/dev/stderr; echo three >/proc/self/fd/1"))
        assert (answer.stdout, answer.stderr) == (b"one\nthree\n", b"two\n")

    def test_it_runs_in_sh_or_in_what_it_names(self, agent: Agent) -> None:
        content = "tr '\\0' ' ' </proc/$$/cmdline"
        shell, named = (agent.provision(boot(first + content)).stdout for first in ("", "#!/bin/bash\n"))
        assert shell.startswith((b"sh /", b"/bin/sh /"))
        assert named.startswith(b"/bin/bash /")
        assert named.split()[1].startswith(os.fsencode(agent.state_dir / "scripts"))

    @pytest.mark.parametrize(
        ("first", "content", "stdout"),
        [
            ("", "echo ${BASH_VERSION:-none}", b"none\n"),
            ("#!/bin/bash\n", "[[ $BASH_VERSION ]] && echo bash", b"bash\n"),
            ("#!/bin/bash -eu\n", "echo $-", b"ehuB\n"),
            ("#!/usr/bin/env python3\n", "import sys\nprint(sys.argv[1:], __file__ == sys.argv[0])", b"[] True\n"),
            ("#!  /bin/sh\n", "echo blanks", b"blanks\n"),
            ("#!/bin/sh\n", "printf 'unix'\r\n", b"unix\r"),
            ("", "printf dos\r\n", b"dos\r"),
        ],
        ids=["none", "bash", "bash-with-options", "env-python3", "blanks", "crlf-later", "crlf-without-shebang"],
    )
    def test_the_first_line_says_what_runs_it(self, agent: Agent, first: str, content: str, stdout: bytes) -> None:
        answer = agent.provision(system(first + content))
        assert (answer.stdout, answer.stderr, answer.end["success"]) == (stdout, b"", True)

    def test_a_path_without_sh_does_not_keep_it_from_starting(self, agent: Agent) -> None:
        assert agent.provision(system("echo $PATH", env={"PATH": "/no/such"})).stdout == b"/no/such\n"

    @pytest.mark.parametrize("content", ["", "\n", "# nothing\n", "#!/bin/sh"])
    def test_an_empty_script_passes(self, agent: Agent, content: str) -> None:
        subset(agent.provision(system(content)).end, success=True, ran=["system"])

    def test_a_script_of_one_mebibyte(self, agent: Agent) -> None:
        content = "# " + "x" * 1024 * 1024 + "\necho $(wc -c <$0)\n"
        assert int(agent.provision(system(content)).stdout) == len(content)

    def test_its_directory_may_be_removed(self, agent: Agent) -> None:
        (agent.root / "here").mkdir()
        answer = agent.provision(system(f"cd {agent.root}/here && rmdir ../here && ls -A . && echo alive; sh -c pwd"))
        assert answer.stdout.startswith(b"alive\n")
        assert answer.of("script_exited")[0]["signal"] is None
        assert agent.provision(boot("pwd")).stdout == b"/\n"

    def test_text_is_utf_8(self, agent: Agent) -> None:
        assert agent.provision(system("echo 'grüße 🍹'")).stdout.decode() == "grüße 🍹\n"


class TestEnd:
    @pytest.mark.parametrize(
        ("content", "exit_code", "signal"),
        [
            ("true", 0, None),
            ("exit 255", 255, None),
            ("kill -9 $$", None, 9),
            ("kill -TERM $$", None, 15),
            ("kill -SEGV $$", None, 11),
            ("exit 137", 137, None),
            ("no-such-command", 127, None),
            ("#!/bin/sh\nexit 3", 3, None),
        ],
    )
    def test_exactly_one_of_exit_code_and_signal(
        self, agent: Agent, content: str, exit_code: int | None, signal: int | None
    ) -> None:
        answer = agent.provision(system(content))
        ending = {"exit_code": exit_code, "signal": signal, "timed_out": False}
        subset(answer.of("script_exited")[0], name="system", **ending)
        failed = exit_code != 0
        subset(answer.end, **({**ending, "failed_script": "system"} if failed else {"exit_code": None, "signal": None}))

    @pytest.mark.parametrize(
        ("content", "exit_code", "reason"),
        [
            ("#!/no/such/shell\n", 127, b"the interpreter /no/such/shell is not in the guest"),
            ("#! /no/such/shell -e\n", 127, b"the interpreter /no/such/shell is not in the guest"),
            ("#!/no/such/shell\t-e\n", 127, b"the interpreter /no/such/shell is not in the guest"),
            ("#!/bin/sh\r\necho\r\n", 127, b"the interpreter /bin/sh and ends in a carriage return"),
            ("#!/bin/sh -e\r\necho\r\n", 127, b"the interpreter /bin/sh -e and ends in a carriage return"),
            ("#!/usr/bin/env python3\r\n", 127, b"the interpreter /usr/bin/env python3 and ends in a carriage return"),
            ("#!/usr/bin/env no-such-program\n", 127, b"no-such-program"),
            ("\ufeff#!/bin/bash\necho\n", 126, b"begins with a byte order mark"),
            ("\ufeffecho\n", 126, b"save it as UTF-8 without one"),
            ("#!\necho\n", 126, b"the first line is #! and names no interpreter"),
            ("#! \t", 126, b"the first line is #! and names no interpreter"),
            ("#!/etc/passwd\n", 126, b"Permission denied"),
            ("#!/etc\n", 126, b"Permission denied"),
        ],
        ids=[
            "missing",
            "missing-with-argument",
            "missing-with-tab",
            "crlf",
            "crlf-after-option",
            "crlf-after-env",
            "missing-for-env",
            "byte-order-mark",
            "byte-order-mark-without-shebang",
            "nothing-named",
            "blanks-named",
            "not-executable",
            "directory",
        ],
    )
    def test_what_cannot_start_says_why(self, agent: Agent, content: str, exit_code: int, reason: bytes) -> None:
        answer = agent.provision(system(content))
        assert reason in answer.stderr
        assert answer.types == ["run_started", "script_started", "script_exited", "result"]
        subset(answer.end, success=False, exit_code=exit_code, signal=None, ran=["system"], failed_script="system")

    def test_crlf_has_a_hint(self, agent: Agent) -> None:
        assert b"LF line ends instead of CRLF" in agent.provision(system("#!/bin/bash\r\nexit 0\r\n")).stderr

    @pytest.mark.parametrize(
        ("content", "how"),
        [
            ("exec sleep 300", {"signal": 15, "exit_code": None}),
            ("kill -STOP $$", {"signal": 15, "exit_code": None}),
            ("trap 'exit 0' TERM; while :; do sleep 0.01; done", {"signal": None, "exit_code": 0}),
        ],
        ids=["sleeping", "stopped", "exits-with-0"],
    )
    def test_time_is_up(self, agent: Agent, content: str, how: dict[str, object]) -> None:
        answer = agent.provision(system(content, timeout_s=0.2))
        subset(answer.end, success=False, timed_out=True, failed_script="system", **how)
        assert answer.of("script_exited")[0]["duration_ms"] >= 200
        assert not agent.sentinel.exists()

    def test_time_is_up_for_what_ignores_term(self, guest: Agent) -> None:
        guest.limits = {"KILL_AFTER_S": 0.3}
        guest.start()
        subset(
            guest.provision(system("trap '' TERM; while :; do sleep 0.01; done", timeout_s=0.1)).end,
            timed_out=True,
            signal=9,
        )

    def test_a_limit_that_is_not_reached(self, agent: Agent) -> None:
        subset(agent.provision(system("true", timeout_s=600)).end, success=True, timed_out=False)

    def test_the_limit_does_not_reach_what_is_left_in_the_background(self, agent: Agent) -> None:
        answer = agent.provision(system("sleep 300 & echo $!; sleep 0.3", timeout_s=0.8))
        pid = agent.outlives(int(answer.stdout))
        subset(answer.end, success=True, timed_out=False)
        assert is_running(pid)


class TestBackground:
    def test_it_does_not_block(self, agent: Agent) -> None:
        answer = agent.provision(system("sleep 300 & echo $!"), boot("echo after"))
        pid = agent.outlives(int(answer.stdout.split()[0]))
        assert answer.stdout.endswith(b"after\n")
        assert answer.of("script_exited")[0]["duration_ms"] < 10_000
        assert is_running(pid)

    @pytest.mark.parametrize(
        "start",
        [
            "sleep 300 & echo $!",
            "setsid sleep 300 & echo $!",
            "(setsid sh -c 'echo $$; exec sleep 300' &)",
            "nohup sleep 300 >/dev/null 2>&1 & echo $!",
        ],
        ids=["stays", "setsid", "setsid-in-a-subshell", "nohup"],
    )
    def test_it_lives_on_whatever_it_does_to_its_session(self, agent: Agent, start: str) -> None:
        answer = agent.provision(system(start))
        assert answer.end["success"]
        pid = agent.outlives(int(answer.stdout))
        assert is_running(pid)

    def test_a_background_flood_does_not_keep_the_script_alive(self, agent: Agent) -> None:
        answer = agent.provision(system("yes flood >&2 & echo $!"), boot("echo after"))
        agent.outlives(int(answer.stdout.split()[0]))
        assert answer.end["success"]
        assert answer.stdout.endswith(b"after\n")
        assert agent.status()["run"] is None

    def test_stragglers_have_a_second(self, agent: Agent) -> None:
        answer = agent.provision(system("(sleep 0.3; echo straggler) &"))
        assert answer.stdout == b"straggler\n"

    def test_a_straggler_that_ends_with_its_second_ends_the_run_once(self, guest: Agent) -> None:
        guest.limits = {"STRAGGLER_S": 0.1}
        guest.start()
        for _ in range(20):
            answer = guest.provision(boot("sleep 0.1 &"), boot("true", "b", order=201), mode="boot")
            subset(answer.end, success=True, ran=["boot", "b"])
        wait_until(lambda: guest.zombies() == [], "there are no zombies")


def test_scripts_that_follow_each_other_are_waited_for(agent: Agent) -> None:
    count = 50
    scripts = [system("true", f"s{number:03d}", order=number) for number in range(count)]
    answer = agent.provision(*scripts)
    assert answer.end["ran"] == [script["name"] for script in scripts]
    assert agent.zombies() == []
    agent.wait_for_descriptors(1)
    assert list((agent.root / "run/rum/fifo").iterdir()) == []


def test_runs_that_follow_each_other_leave_nothing(agent: Agent) -> None:
    agent.provision(boot("true"))
    memory = agent.memory_kib("VmRSS")
    for _ in range(200):
        agent.provision(boot("true"), mode="boot")
    agent.wait_for_no_child()
    agent.wait_for_descriptors(1)
    assert agent.memory_kib("VmRSS") < memory + 2048


def test_what_the_locale_cannot_spell_is_a_failure_and_the_end_of_the_run(guest: Agent) -> None:
    """The unit has the agent speak UTF-8 whatever the guest's locale is; an image may start it otherwise."""
    guest.environment = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    agent = guest.start()
    answer = agent.provision(system("true", env={"NAME": "gr\u00fcn"}))
    subset(answer.end, success=False, failed_script="system", exit_code=126)
    assert answer.stderr.startswith(b"rum-agent: cannot start ")
    assert agent.status()["run"] is None
