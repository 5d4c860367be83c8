"""What ends a run from outside: cancel, SIGTERM and SIGKILL of the agent, power loss."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.unit.agent.harness import Agent, Client, boot, frames_of, is_running, subset, system, wait_until

LONG = "echo $$; exec sleep 300"


def running(agent: Agent, *scripts: dict[str, object], lines: int = 1) -> tuple[Client, list[int]]:
    """A client that follows the run of the scripts, and the pids that the running one has printed."""
    client = agent.connect().request("provision", scripts=list(scripts))
    client.read_until(lambda answer: answer.stdout.count(b"\n") >= lines)
    return client, [int(line) for line in client.answer.stdout.split()]


class TestCancel:
    def test_it_answers_at_once_and_the_run_ends_as_cancelled(self, agent: Agent) -> None:
        client, (pid,) = running(agent, system("true", "a"), system(LONG, "b"), boot("true"))
        assert agent.call("cancel", run_id=None).end == {"type": "result", "cancelled": True}
        end = client.finish().end
        subset(end, success=False, cancelled=True, interrupted=False, failed_script="b", ran=["a", "b"], signal=15)
        assert not is_running(pid)
        assert not agent.sentinel.exists()

    def test_the_run_may_be_named(self, agent: Agent) -> None:
        client, _ = running(agent, system(LONG))
        assert agent.call("cancel", run_id="000009-abcdef").end["cancelled"] is False
        assert agent.call("cancel", run_id=agent.runs[0]).end["cancelled"] is True
        assert client.finish().end["cancelled"]

    def test_there_may_be_none(self, agent: Agent) -> None:
        assert agent.call("cancel", run_id=None).end["cancelled"] is False

    def test_children_are_stopped_too(self, agent: Agent) -> None:
        client, pids = running(agent, system("sleep 300 & echo $!; sleep 300 & echo $!; wait"), lines=2)
        agent.call("cancel", run_id=None)
        assert client.finish().end["cancelled"]
        assert [pid for pid in pids if is_running(pid)] == []

    def test_what_ignores_term_is_killed_after_five_seconds(self, agent: Agent) -> None:
        client, pids = running(agent, system("trap '' TERM; sleep 300 & echo $!; echo $$; wait"), lines=2)
        agent.call("cancel", run_id=None)
        answer = client.finish()
        subset(answer.end, cancelled=True, signal=9, exit_code=None)
        assert 5000 <= answer.of("script_exited")[0]["duration_ms"] < 30_000
        assert [pid for pid in pids if is_running(pid)] == []

    def test_what_ignores_term_in_the_background_is_killed_too(self, guest: Agent) -> None:
        guest.limits = {"KILL_AFTER_S": 0.3}
        guest.start()
        client, (background, _) = running(
            guest, system("(trap '' TERM; sleep 300 & wait; wait) & echo $!; echo $$; exec sleep 300"), lines=2
        )
        guest.call("cancel", run_id=None)
        assert client.finish().end["cancelled"]
        assert not is_running(background)

    def test_a_script_may_clean_up(self, agent: Agent) -> None:
        content = "trap 'echo cleaned; exit 0' TERM; echo $$; while :; do sleep 0.05; done"
        client, _ = running(agent, system(content))
        agent.call("cancel", run_id=None)
        answer = client.finish()
        assert answer.stdout.endswith(b"cleaned\n")
        subset(answer.end, success=False, cancelled=True, exit_code=0, signal=None, failed_script="system")
        assert agent.status()["system_provisioned"] is False

    def test_a_stopped_script_is_stopped(self, agent: Agent) -> None:
        client, (pid,) = running(agent, system("echo $$; kill -STOP $$; echo never"))
        agent.call("cancel", run_id=None)
        subset(client.finish().end, cancelled=True, signal=15)
        assert not is_running(pid)

    def test_the_next_provision_starts_afresh(self, agent: Agent) -> None:
        client, _ = running(agent, system(LONG))
        agent.call("cancel", run_id=None)
        client.finish()
        assert agent.provision(system("true")).end["success"]


class TestTerminated:
    def test_attached_clients_get_the_result(self, agent: Agent) -> None:
        client, (pid,) = running(agent, system("true", "a"), system(LONG, "b"))
        agent.signal(signal.SIGTERM)
        subset(client.finish().end, success=False, interrupted=True, cancelled=False, failed_script="b", signal=15)
        assert agent.wait() == 0
        assert not is_running(pid)
        agent.start()
        assert agent.attach().record == client.answer.record

    def test_the_whole_tree_is_stopped_before_the_agent_ends(self, guest: Agent) -> None:
        guest.limits = {"KILL_AFTER_S": 0.3}
        guest.start()
        client, pids = running(guest, system("trap '' TERM; sleep 300 & echo $!; echo $$; wait"), lines=2)
        client.close()
        guest.stop()
        assert [pid for pid in pids if is_running(pid)] == []

    def test_a_boot_script_that_was_interrupted_is_not_tried_again_in_this_boot(self, agent: Agent) -> None:
        client, _ = running(agent, boot(LONG))
        client.close()
        agent.restart()
        assert agent.status()["run"] is None
        assert len(agent.runs) == 1

    def test_it_ends_at_once_when_idle(self, agent: Agent) -> None:
        agent.stop()

    def test_it_does_not_wait_for_strangers(self, agent: Agent) -> None:
        with agent.connect_raw():
            agent.stop()

    def test_it_does_not_wait_long_for_a_client_that_stays(self, agent: Agent) -> None:
        with agent.connect():
            agent.stop()

    def test_nothing_is_begun_any_more(self, guest: Agent) -> None:
        guest.limits = {"KILL_AFTER_S": 1.0}
        guest.start()
        content = "trap 'echo stopping' TERM; echo $$; while :; do sleep 0.05; done"
        client, _ = running(guest, system(content))
        guest.signal(signal.SIGTERM)
        client.wait_for_output(b"stopping")
        subset(guest.provision(system(content)).end, type="error", code="busy")
        assert client.finish().end["interrupted"]
        assert guest.wait() == 0

    def test_interrupt_is_the_same(self, agent: Agent) -> None:
        agent.signal(signal.SIGINT)
        assert agent.wait() == 0


class TestKilled:
    def test_the_record_is_closed_and_what_was_left_is_killed(self, agent: Agent) -> None:
        scripts = [system("echo one", "a"), system("echo $$; sleep 300 & echo $!; wait", "b"), boot("true")]
        client = agent.connect().request("provision", scripts=scripts)
        client.read_until(lambda answer: answer.stdout.count(b"\n") >= 3)
        pids = [int(line) for line in client.answer.stdout.split()[1:]]
        before = client.answer.record
        agent.kill()
        assert [pid for pid in pids if is_running(pid)] == pids
        agent.start()
        assert [pid for pid in pids if is_running(pid)] == []
        answer = agent.attach()
        assert answer.record.startswith(before)
        assert agent.record_path(agent.runs[0]).read_bytes() == answer.record
        subset(
            answer.end,
            success=False,
            interrupted=True,
            cancelled=False,
            failed_script="b",
            exit_code=None,
            signal=None,
            ran=["a", "b"],
            first_boot=True,
            system_provisioned=False,
        )
        assert client.next() is None
        client.close()

    def test_all_system_scripts_run_again(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        scripts = [system("true", "a"), system(f"[ -e {gate} ] || {{ echo $$; exec sleep 300; }}", "b")]
        client, _ = running(agent, *scripts)
        client.close()
        agent.kill()
        agent.start()
        gate.touch()
        subset(agent.provision(*scripts).end, success=True, ran=["a", "b"])

    def test_boot_scripts_that_were_tried_do_not_run_by_themselves(self, agent: Agent) -> None:
        client, _ = running(agent, boot("true", "a"), boot(LONG, "b", order=201))
        client.close()
        agent.kill()
        agent.start()
        assert agent.status()["run"] is None
        gate = agent.provision(boot("true", "a"), boot("true", "b", order=201)).end
        subset(gate, ran=["b"], skipped=["a"])

    def test_boot_scripts_that_were_not_tried_run_by_themselves(self, agent: Agent) -> None:
        agent.provision(system("true"), boot("true"))
        agent.kill()
        agent.play_boot("boot-2")
        agent.start()
        subset(agent.wait_idle(), success=True, ran=["boot"])

    def test_background_processes_of_earlier_scripts_live_on(self, agent: Agent) -> None:
        client, (background, pid) = running(
            agent, system("sleep 300 >/dev/null 2>&1 & echo $!", "a"), system(LONG, "b"), lines=2
        )
        client.close()
        agent.outlives(background)
        agent.kill()
        agent.start()
        assert is_running(background)
        assert not is_running(pid)

    def test_the_command_of_a_client_is_killed(self, agent: Agent) -> None:
        client = agent.connect().request("exec", argv=["sh", "-c", "echo $$; exec sleep 300"])
        client.read_until(lambda answer: b"\n" in answer.stdout)
        agent.kill()
        agent.start()
        assert not is_running(int(client.answer.stdout))
        client.close()

    def test_an_agent_that_is_killed_again_and_again(self, agent: Agent) -> None:
        for number in range(3):
            client, (pid,) = running(agent, system(LONG))
            client.close()
            agent.kill()
            agent.start()
            assert not is_running(pid)
            assert agent.attach().end["interrupted"]
            assert len(agent.runs) == number + 1


def torn_records(record: bytes) -> list[bytes]:
    """The record as a power cut may leave it: without its result, cut anywhere near its end, with foreign bytes."""
    frames = list(frames_of(record))
    result_at = frames[-1][0]
    before_exit = frames[-2][0]
    cuts = [result_at, result_at - 1, before_exit + 3, before_exit, frames[1][0] + 6, result_at + 5, len(record) - 1]
    return [record[:cut] for cut in cuts] + [record[:result_at] + bytes(100), record[:before_exit] + b"\xff" * 50]


@pytest.fixture
def stopped_with_record(agent: Agent) -> tuple[Agent, bytes]:
    agent.provision(system("echo out; echo err >&2"))
    agent.stop()
    return agent, agent.record_path(agent.runs[0]).read_bytes()


class TestTornRecord:
    @pytest.mark.parametrize("number", range(9))
    def test_it_is_cut_to_its_last_whole_frame_and_closed(
        self, stopped_with_record: tuple[Agent, bytes], number: int
    ) -> None:
        agent, record = stopped_with_record
        torn = torn_records(record)[number]
        path = agent.record_path(agent.runs[0])
        path.write_bytes(torn)
        agent.start()
        closed = path.read_bytes()
        whole = max(offset for offset, _, _ in frames_of(record) if torn.startswith(record[:offset]))
        frames = list(frames_of(closed))
        assert closed[: frames[-1][0]] == record[:whole]
        result = frames[-1][2]
        assert result is not None
        subset(result, type="result", interrupted=True, success=False)
        assert agent.attach().record == closed

    @pytest.mark.parametrize("content", [b"", b"\x00\x00", bytes(5000)])
    def test_a_run_that_had_not_begun_is_forgotten(
        self, stopped_with_record: tuple[Agent, bytes], content: bytes
    ) -> None:
        agent, _ = stopped_with_record
        agent.record_path(agent.runs[0]).write_bytes(content)
        agent.start()
        assert agent.runs == []
        subset(agent.attach().end, code="not-found")

    def test_foreign_files_among_the_runs_do_not_matter(self, stopped_with_record: tuple[Agent, bytes]) -> None:
        agent, record = stopped_with_record
        runs = agent.state_dir / "runs"
        (runs / "lost+found").mkdir()
        (runs / "notes").write_text("mine", encoding="ascii")
        (runs / "000009-abcdef").mkdir()
        agent.start()
        assert sorted(path.name for path in runs.iterdir())[1:] == ["lost+found", "notes"]
        assert agent.attach().record == record
        assert agent.provision(boot("true")).end["success"]

    def test_a_record_that_cannot_be_opened_does_not_stop_the_agent(
        self, stopped_with_record: tuple[Agent, bytes]
    ) -> None:
        agent, _ = stopped_with_record
        path = agent.record_path(agent.runs[0])
        path.unlink()
        path.mkdir()
        agent.may_complain = True
        agent.start()
        subset(agent.attach().end, code="not-found")
        assert "cannot close the record" in agent.stderr_file.read_text(encoding="utf-8")


class TestBackground:
    def test_a_daemon_writes_on_after_the_end_and_after_the_agent(self, agent: Agent) -> None:
        """No write of it ever fails: nobody's end takes the reader away from it."""
        progress = agent.root / "progress"
        content = (
            f"nohup sh -c 'while echo noise && echo noise >&2; do echo >>{progress}; sleep 0.01; done; "
            f"echo broken >{agent.root}/broken' & echo $!"
        )

        def goes_on() -> None:
            size = progress.stat().st_size
            wait_until(lambda: progress.stat().st_size > size + 10, "the daemon has written more")

        answer = agent.provision(system(content))
        pid = agent.outlives(int(answer.stdout.split(b"\n")[0].replace(b"noise", b"") or answer.stdout.split()[1]))
        assert answer.end["success"]
        goes_on()
        agent.stop()
        assert progress.stat().st_size
        agent.start()
        goes_on()
        agent.kill()
        agent.start()
        goes_on()
        assert is_running(pid)
        assert not (agent.root / "broken").exists()

    def test_a_daemon_that_fills_its_pipe_while_no_agent_runs_goes_on_with_the_next(self, agent: Agent) -> None:
        gate, done = agent.root / "gate", agent.root / "done"
        content = f"(until [ -e {gate} ]; do sleep 0.01; done; head -c 1000000 /dev/zero; echo $? >{done}) & echo $!"
        pid = agent.outlives(int(agent.provision(system(content)).stdout))
        agent.stop()
        gate.touch()
        agent.start()
        wait_until(lambda: done.exists() and not is_running(pid), "the daemon has written everything")
        assert done.read_text(encoding="ascii") == "0\n"

    def test_pipes_are_removed_when_their_last_writer_ends(self, agent: Agent) -> None:
        fifos = agent.root / "run/rum/fifo"
        pid = agent.outlives(int(agent.provision(system("sleep 300 & echo $!")).stdout))
        assert len(list(fifos.iterdir())) == 2
        agent.restart()
        assert len(list(fifos.iterdir())) == 2
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: list(fifos.iterdir()) == [], "the pipes are gone")

    def test_pipes_without_a_writer_are_removed_at_start(self, agent: Agent) -> None:
        fifos = agent.root / "run/rum/fifo"
        pid = agent.outlives(int(agent.provision(system("sleep 300 & echo $!")).stdout))
        agent.stop()
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "it is gone")
        agent.start()
        assert list(fifos.iterdir()) == []

    def test_foreign_files_among_the_pipes_do_not_matter(self, agent: Agent) -> None:
        fifos = agent.root / "run/rum/fifo"
        fifos.mkdir(parents=True, exist_ok=True)
        (fifos / "notes").write_text("mine", encoding="ascii")
        (fifos / "exec-0.session").write_text("torn", encoding="ascii")
        (fifos / "dir").mkdir()
        agent.restart()
        assert agent.provision(system("true")).end["success"]


def test_the_sentinel_and_the_state_survive_a_kill_right_after_the_result(agent: Agent) -> None:
    agent.provision(system("true"), boot("true"))
    agent.kill()
    agent.start()
    subset(agent.provision(system("true"), boot("true")).end, run_id=None, skipped=["system", "boot"], changed=[])


def test_temporary_files_of_a_crash_do_not_matter(agent: Agent, tmp_path: Path) -> None:
    agent.provision(system("true"))
    agent.stop()
    for name in (".tmp-state.json", ".tmp-scripts.json", ".tmp-.system-provisioned", "scripts/.tmp-x"):
        (agent.state_dir / name).write_text("{half", encoding="ascii")
    agent.start()
    assert agent.provision(system("true"), boot("true")).end["success"]
    assert not (agent.state_dir / "scripts/.tmp-x").exists()
