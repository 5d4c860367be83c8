"""What holds a process and its descendants, with real processes and, where this user may make them, real cgroups.

Where it may not, those tests are not there: the end-to-end tests show the same in a real guest.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rum.agent import containment
from rum.agent.containment import Cgroup, Session, kill_now, send_signal
from tests.unit.agent.cgroups import BASE, children_of, new_cgroup
from tests.unit.agent.harness import adopt_orphans, bury, children, is_running, wait_until

Held = Cgroup | Session
Start = Callable[[Held, str], subprocess.Popen[bytes]]

KINDS = ["session", "cgroup"] if BASE else ["session"]
KILLERS = ["cgroup.kill", "cgroup.not-there"] if BASE else []
"""The file that kills, and what an older kernel has instead of it: nothing."""


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Path]:
    """A cgroup where that is possible, else a directory."""
    if BASE is None:
        yield tmp_path
        return
    with new_cgroup() as path:
        yield path


@pytest.fixture(params=KINDS)
def held(request: pytest.FixtureRequest, base: Path, tmp_path: Path) -> Held:
    return Cgroup(str(base / "it")) if request.param == "cgroup" else Session(str(tmp_path / "session"))


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts a shell in what holds it; afterwards nothing that it started is left."""
    adopt_orphans()
    spared = children()

    def begin(held: Held, script: str) -> subprocess.Popen[bytes]:
        held.prepare()
        with held.holding():
            child = subprocess.Popen(["sh", "-c", script], start_new_session=True, stdout=subprocess.PIPE)
        held.started(child.pid)
        started.append(child)
        return child

    started: list[subprocess.Popen[bytes]] = []
    yield begin
    bury(children() - spared, spared=spared)
    for child in started:
        child.wait()
        if child.stdout:
            child.stdout.close()


def read_pids(child: subprocess.Popen[bytes], count: int) -> list[int]:
    assert child.stdout
    return [int(child.stdout.readline()) for _ in range(count)]


def test_every_process_of_the_tree_is_held(held: Held, start: Start) -> None:
    child = start(held, "sleep 300 & echo $!; (sleep 300 & echo $!) & wait")
    pids = {child.pid, *read_pids(child, 2)}
    wait_until(lambda: pids <= set(held.pids()), "they are all there")
    assert os.getpid() not in held.pids()


def test_a_signal_reaches_all_of_them(held: Held, start: Start) -> None:
    child = start(held, "sleep 300 & echo $!; sleep 300 & echo $!; wait")
    pids = [child.pid, *read_pids(child, 2)]
    assert send_signal(held, signal.SIGTERM)
    wait_until(lambda: not any(map(is_running, pids)), "they have ended")
    assert not send_signal(held, signal.SIGTERM)


def test_two_hundred_that_ignore_everything_are_killed(held: Held, start: Start) -> None:
    child = start(held, "trap '' TERM INT HUP; for i in $(seq 200); do sleep 300 & done; echo $$; wait")
    read_pids(child, 1)
    wait_until(lambda: len(held.pids()) == 201, "they are all there")
    kill_now(held)
    assert held.pids() == []
    assert child.wait() == -signal.SIGKILL


def test_what_has_left_the_session_is_held_by_a_cgroup_only(held: Held, start: Start) -> None:
    child = start(held, "setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 300' & wait")
    (escaped,) = read_pids(child, 1)
    kill_now(held)
    assert not is_running(child.pid)
    assert is_running(escaped) == isinstance(held, Session)


def test_killing_nothing_is_no_error(held: Held, tmp_path: Path) -> None:
    kill_now(held)
    held.prepare()
    kill_now(held)
    assert held.pids() == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("file", KILLERS or [""], ids=lambda name: name or "session")
def test_what_forks_while_it_is_killed(
    monkeypatch: pytest.MonkeyPatch, base: Path, tmp_path: Path, start: Start, file: str, stopped: bool
) -> None:
    """Each process forks its successor and ends; whoever only follows a list of pids comes too late for most."""
    monkeypatch.setattr(containment, "KILL_FILE", file)
    held = Cgroup(str(base / "it")) if file else Session(str(tmp_path / "session"))
    forks = "kill -STOP $$" if stopped else "wait"
    child = start(held, f"f() {{ f & }}; for i in 1 2 3 4 5 6 7 8; do f; done; echo $$; {forks}; exec sleep 300")
    read_pids(child, 1)
    before = set(held.pids()) - {child.pid}
    wait_until(lambda: before.isdisjoint(held.pids()), "every one has a successor")
    kill_now(held)
    assert held.pids() == []
    assert child.wait() == -signal.SIGKILL


class TestSession:
    def test_a_successor_finds_it_in_its_file(self, tmp_path: Path, start: Start) -> None:
        file = str(tmp_path / "session")
        child = start(Session(file), "echo $$; exec sleep 300")
        read_pids(child, 1)
        kill_now(Session(file))
        assert child.wait() == -signal.SIGKILL

    @pytest.mark.parametrize("content", ["", "torn", "1", "{pid} 1"])
    def test_a_file_that_names_nobody_kills_nobody(self, tmp_path: Path, start: Start, content: str) -> None:
        child = start(Session(str(tmp_path / "other")), "echo $$; exec sleep 300")
        read_pids(child, 1)
        file = tmp_path / "session"
        file.write_text(content.format(pid=child.pid), encoding="ascii")
        kill_now(Session(str(file)))
        assert is_running(child.pid)


if BASE:

    class TestCgroup:
        def test_it_is_removed_with_its_last_process(self, base: Path, start: Start) -> None:
            held = Cgroup(str(base / "it"))
            start(held, "exit 0").wait()
            held.remove()
            assert children_of(base) == []

        def test_what_lives_on_keeps_it_until_the_next_is_made(self, base: Path, start: Start) -> None:
            held = Cgroup(str(base / "first"))
            child = start(held, "sleep 300 >/dev/null & echo $!")
            (left,) = read_pids(child, 1)
            child.wait()
            held.remove()
            Cgroup(str(base / "second")).prepare()
            assert [path.name for path in children_of(base)] == ["first", "second"]
            os.kill(left, signal.SIGKILL)
            wait_until(lambda: not held.pids(), "it has ended")
            Cgroup(str(base / "third")).prepare()
            assert [path.name for path in children_of(base)] == ["third"]

        def test_the_cgroups_of_what_lives_on_are_its_own(self, base: Path, start: Start) -> None:
            """A container engine makes a cgroup before it starts something in it."""
            held = Cgroup(str(base / "it"))
            child = start(held, f"mkdir {base}/it/still-empty; sleep 300 >/dev/null & echo $!")
            read_pids(child, 1)
            child.wait()
            held.remove()
            Cgroup(str(base / "next")).prepare()
            assert [path.name for path in children_of(base / "it")] == ["still-empty"]
            kill_now(held)
            assert not (base / "it").exists()

        def test_processes_below_it_are_held_too(self, base: Path, start: Start) -> None:
            held = Cgroup(str(base / "it"))
            below = f"{base}/it/a/b"
            child = start(held, f"mkdir -p {below}; echo $$ >{below}/cgroup.procs; echo $$; exec sleep 300")
            read_pids(child, 1)
            assert held.pids() == [child.pid]
            kill_now(held)
            assert child.wait() == -signal.SIGKILL
            assert children_of(base) == []
