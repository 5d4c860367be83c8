"""What the agent costs: little memory, whatever is printed, asked or left unread; and it is not what gets killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

from tests.unit.agent.cgroups import MEMORY_BASE, memory_cgroup
from tests.unit.agent.harness import Agent, Client, boot, is_running, subset, system, wait_until
from tests.unit.agent.tally import count_to, read_to_end, tally_of
from tests.unit.agent.test_clients import is_dropped

MIB = 1024 * 1024
KIB_PER_READER = 256
"""What may wait for a client that does not read: a pipe that was full, and as much again on its way."""


def written(pid: int) -> int:
    """Bytes that the process has passed to write(2)."""
    return int(Path(f"/proc/{pid}/io").read_text(encoding="ascii").split("wchar:")[1].split()[0])


def stall(agent: Agent, count: int) -> tuple[list[Client], list[int]]:
    """Clients that never read what a flood prints, once the floods have come to a stand; and the floods."""
    clients = [agent.connect().request("exec", argv=["yes"]) for _ in range(count)]
    wait_until(lambda: len(agent.children()) == count, "all of them run")
    pids = agent.children()

    def stands() -> bool:
        before = [written(pid) for pid in pids]
        for _ in range(5):
            agent.status()
        return min(before) > 0 and before == [written(pid) for pid in pids]

    wait_until(stands, "all of them wait for their reader")
    return clients, pids


class TestStalledReaders:
    """Clients of `exec` that never read."""

    def test_they_cost_nothing_and_nobody_else_waits(self, agent: Agent) -> None:
        clients, pids = stall(agent, 2)
        before = agent.memory_kib("VmRSS")
        for client in clients:
            client.close()
        agent.wait_for_no_child()
        clients, pids = stall(agent, 22)
        assert agent.memory_kib("VmRSS") < before + 20 * KIB_PER_READER
        answer = agent.provision(system("head -c 3000000 /dev/zero"))
        assert len(answer.stdout) == 3_000_000
        assert agent.call("exec", argv=["echo", "alive"]).stdout == b"alive\n"
        assert all(map(is_running, pids))
        for client in clients:
            client.close()
        wait_until(lambda: not any(map(is_running, pids)), "what they asked for is stopped")
        agent.wait_for_no_child()
        agent.wait_for_descriptors(1)

    def test_they_may_pause_for_as_long_as_they_like(self, guest: Agent) -> None:
        """Somebody reads in a pager. A client of another method, which began later, has been given up by then."""
        guest.limits = {"STALLED_CLIENT_S": 0.3, "HEARTBEAT_S": 0.1}
        guest.start()
        size = 3_000_000
        with guest.connect().request("exec", argv=["head", "-c", str(size), "/dev/zero"]) as reader:
            reader.wait_for_output(b"\0")
            large = guest.root / "large"
            large.write_bytes(bytes(size))
            with guest.connect().request("read_file", path=str(large)) as other:
                wait_until(lambda: is_dropped(other.socket), "the other is given up")
            assert len(reader.finish().stdout) == size

    def test_one_that_is_only_slow_is_not(self, guest: Agent) -> None:
        guest.limits = {"STALLED_CLIENT_S": 2.0, "HEARTBEAT_S": 0.2}
        guest.start()
        client = guest.connect().request("exec", argv=["head", "-c", "3000000", "/dev/zero"])
        begun = time.monotonic()
        while (elapsed := time.monotonic() - begun) < 3.0:
            wait_until(lambda next_at=begun + elapsed + 0.3: time.monotonic() > next_at, "the next look")  # type: ignore[misc]
            client.wait_for_size(len(client.answer.stdout) + 200_000)
        assert len(client.finish().stdout) == 3_000_000


def test_any_amount_of_output(shipped: Agent) -> None:
    """As it is shipped; a gigabyte is in tests/endurance."""
    agent = shipped.start()
    output = count_to(15_000_000)
    expected = tally_of(output)
    got = read_to_end(agent.connect().request("exec", argv=output))
    assert (got.size, got.sha256) == (expected.size, expected.sha256)
    got = read_to_end(agent.connect().request("provision", scripts=[system(" ".join(output))]))
    assert got.tail == expected.tail
    assert agent.memory_kib() < 30 * 1024


def test_any_number_of_requests(agent: Agent) -> None:
    """Ten thousand are in tests/endurance."""

    def ask(times: int) -> None:
        for _ in range(times):
            agent.status()
            assert agent.call("exec", argv=["true"], timeout_s=86400).end["exit_code"] == 0

    ask(100)
    before, descriptors = agent.memory_kib("VmRSS"), agent.descriptors()
    ask(200)
    agent.wait_for_no_child()
    assert agent.memory_kib("VmRSS") < before + 512
    wait_until(lambda: agent.descriptors() <= descriptors, "as many descriptors are open as before")


class TestOutOfMemory:
    def test_what_is_started_is_not_protected_as_the_agent_is(self, guest: Agent) -> None:
        def protect() -> None:
            # Below zero takes CAP_SYS_RESOURCE; any other value shows that a script does not inherit it.
            for value in ("-500", "100"):
                with contextlib.suppress(PermissionError), open("/proc/self/oom_score_adj", "w") as file:
                    file.write(value)
                    file.flush()
                    return

        guest.before_start = protect
        agent = guest.start()
        own = Path(f"/proc/{agent.pid}/oom_score_adj").read_text(encoding="ascii")
        assert own.strip() in ("-500", "100")
        show = "cat /proc/self/oom_score_adj"
        assert agent.provision(system(show)).stdout == b"0\n"
        assert agent.call("exec", argv=show.split()).stdout == b"0\n"

    def test_a_script_with_a_limit_of_its_own(self, agent: Agent) -> None:
        answer = agent.provision(system("ulimit -v 50000; exec tail /dev/zero"))
        subset(answer.end, success=False, exit_code=1, failed_script="system")
        assert b"memory" in answer.stderr
        assert agent.provision(system("true")).end["success"]

    def test_the_kernel_would_rather_have_the_script(self, agent: Agent) -> None:
        """Whoever it ranks first is killed, as the OOM killer would do: it is the script, and that is its result."""
        grow = "#!/usr/bin/env python3\nimport signal\nx = b'x' * 300_000_000\nprint('grown')\nsignal.pause()"
        client = agent.connect().request("provision", scripts=[system(grow)])
        client.wait_for_output(b"grown")
        (script,) = agent.children()
        ranked = {pid: int(Path(f"/proc/{pid}/oom_score").read_text(encoding="ascii")) for pid in (agent.pid, script)}
        assert ranked[script] > ranked[agent.pid]
        os.kill(script, signal.SIGKILL)
        subset(client.finish().end, success=False, signal=9, exit_code=None, failed_script="system")
        assert agent.provision(system("true")).end["success"]


if MEMORY_BASE:

    def test_out_of_memory_for_real(guest: Agent) -> None:
        """The agent and its script share a cgroup that is too small for what the script wants."""
        with memory_cgroup(80 * MIB) as cgroup:

            def enter() -> None:
                (cgroup / "cgroup.procs").write_text("0", encoding="ascii")

            guest.before_start = enter
            guest.start()
            answer = guest.provision(system("exec tail /dev/zero"), boot("true"))
            subset(answer.end, success=False, signal=9, failed_script="system", ran=["system"])
            assert guest.call("exec", argv=["sh", "-c", "tail /dev/zero; echo $?"]).stdout == b"137\n"
            assert guest.provision(system("true")).end["success"]
            guest.stop()
