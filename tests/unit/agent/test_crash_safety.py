"""The agent or the machine dies after any step of its durable module, or a step fails: what it promised stays true.

A scenario is played once on a recorded agent. For every step of it, and every way to die right after it, the disk that
is left is made, an agent is started on it, and held to the rules of docs/architecture.md.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rum.protocol import FrameDecoder, Kind, Message, parse_message
from tests.unit.agent.conftest import agent_in
from tests.unit.agent.disk import Crash, Disk, Image, Step, write_image
from tests.unit.agent.harness import Agent, boot, subset, system

KEPT = 3
"""Records that the recorded agents keep, so that old ones are removed within a scenario."""

Scenario = Callable[["Story"], None]


class Story:
    """A recorded agent, and what has happened to it."""

    def __init__(self, agent: Agent, journal: Path) -> None:
        self.agent = agent
        self.journal = journal
        self.boots = 1
        self.record()
        (agent.root / "var/lib").mkdir(parents=True, exist_ok=True)

    def record(self, first_failure: int = 0, failures: int = 0, error: int = errno.ENOSPC) -> None:
        """Have agents that are started from now on write their journal, and let steps of them fail."""
        self.agent.setup = (
            "from tests.unit.agent.recorder import install\n"
            f"install({str(self.journal)!r}, {first_failure}, {failures}, {error})"
        )

    def tell(self, step: str, **fields: object) -> None:
        """Add a line to the journal."""
        with self.journal.open("a") as file:
            file.write(json.dumps({"step": step, **fields}) + "\n")

    def steps(self) -> list[Step]:
        """The journal."""
        return [json.loads(line) for line in self.journal.read_text().splitlines()]

    def script(self, name: str, ending: str = "true") -> str:
        """A script that notes in the journal that it has begun, and that it has passed."""
        began, passed = (json.dumps({"step": step, "script": name}) for step in ("began", "passed"))
        return f"echo '{began}' >>{self.journal}\necho {name}\n{ending} || exit 3\necho '{passed}' >>{self.journal}\n"

    def provision(self, *scripts: Message, mode: str = "auto") -> Message:
        """Provision; a list for `auto` is what the host wants from now on."""
        if mode in ("auto", "all"):
            self.tell("wanted", scripts=list(scripts))
        return self.agent.provision(*scripts, mode=mode).end

    def boot(self) -> None:
        """Start the agent in the next boot."""
        self.agent.play_boot(f"boot-{self.boots}")
        self.tell("boot", boot_id=f"boot-{self.boots}")
        self.boots += 1
        self.agent.start()


def first_boot(story: Story) -> None:
    story.boot()
    scripts = [system(story.script("a"), "a"), system(story.script("b"), "b"), boot(story.script("c"), "c")]
    subset(story.provision(*scripts), success=True, ran=["a", "b", "c"])


def failure_and_retry(story: Story) -> None:
    story.boot()
    good = [system(story.script("a"), "a"), boot(story.script("c"), "c"), boot(story.script("d"), "d")]
    subset(story.provision(*good, system(story.script("b", "false"), "b")), failed_script="b", exit_code=3)
    subset(story.provision(*good, system(story.script("b"), "b")), success=True, ran=["a", "b", "c", "d"])


def boot_failure_and_retry(story: Story) -> None:
    story.boot()
    scripts = [system(story.script("a"), "a"), boot(story.script("b"), "b", order=150)]
    subset(story.provision(*scripts, boot(story.script("c", "false"), "c")), failed_script="c")
    subset(story.provision(*scripts, boot(story.script("c"), "c")), success=True, ran=["c"])


def mode_runs(story: Story) -> None:
    story.boot()
    scripts = [system(story.script("a"), "a"), boot(story.script("c"), "c")]
    story.provision(*scripts)
    edited = [system(story.script("a") + "# edited", "a"), boot(story.script("c"), "c")]
    subset(story.provision(edited[0], mode="system"), ran=["a"])
    subset(story.provision(edited[1], mode="boot"), ran=["c"])
    subset(story.provision(*edited, mode="all"), ran=["a", "c"])


def mode_runs_before_the_first_boot_has_ended(story: Story) -> None:
    story.boot()
    scripts = [system(story.script("a"), "a"), boot(story.script("c"), "c")]
    story.tell("wanted", scripts=scripts)
    subset(story.provision(scripts[1], mode="boot"), success=True, system_provisioned=False)
    subset(story.provision(scripts[0], mode="system"), success=True, system_provisioned=False)
    subset(story.provision(*scripts), success=True, ran=["a"], skipped=["c"])


def later_boots(story: Story) -> None:
    story.boot()
    story.provision(system(story.script("a"), "a"), boot(story.script("c"), "c"), boot(story.script("d"), "d"))
    for _ in range(2):
        story.agent.stop()
        story.boot()
        subset(story.agent.wait_idle(), success=True, ran=["c", "d"])


def an_interrupted_run_is_closed(story: Story) -> None:
    story.boot()
    scripts = [system(story.script("a"), "a"), system(story.script("b", "sleep 300"), "b")]
    story.tell("wanted", scripts=[scripts[0], system(story.script("b"), "b")])
    client = story.agent.connect().request("provision", scripts=scripts)
    client.wait_for_output(b"b\n")
    client.close()
    story.agent.kill()
    story.boot()
    subset(story.agent.attach().end, interrupted=True, failed_script="b")


SCENARIOS = [
    first_boot,
    failure_and_retry,
    boot_failure_and_retry,
    mode_runs,
    mode_runs_before_the_first_boot_has_ended,
    later_boots,
    an_interrupted_run_is_closed,
]


@dataclass
class State:
    """What is left after a crash, and what is known about the time before it."""

    crash: Crash
    image: Image
    disk: Disk
    boot_id: str
    wanted: list[Message]
    stored: list[str]
    """Scripts that have passed, as they themselves say, before the disks were last synced."""
    told: Image
    """What clients had been given of each record."""

    @property
    def key(self) -> str:
        """The same for states in which an agent finds the same."""
        return repr((sorted(self.image.items()), self.boot_id, self.wanted))


def moments(steps: list[Step], root: Path, crashes: list[Crash]) -> Iterator[State]:
    """Every state in which the crashes can leave the scenario."""
    disk, boot_id, wanted = Disk(root), "boot-1", list[Message]()
    passed, stored = list[str](), list[str]()
    for step in steps:
        disk.apply(step)
        match step:
            case {"step": "boot", "boot_id": str(current)}:
                boot_id = current
            case {"step": "wanted", "scripts": scripts}:
                wanted = scripts
            case {"step": "passed", "script": name}:
                passed.append(name)
            case {"step": "sync"}:
                stored = list(passed)
        for crash in crashes if wanted else []:
            yield State(crash, disk.image(crash), disk.copy(), boot_id, wanted, stored, disk.told())


def states(steps: list[Step], root: Path, crashes: list[Crash]) -> list[State]:
    """Those that differ in what an agent finds; of the same ones the last, in which clients had been told most."""
    found = {}
    for state in moments(steps, root, crashes):
        check_image(state)
        found[state.key] = state
    return list(found.values())


def messages(record: bytes) -> list[Message]:
    """Of the whole frames in it."""
    decoder = FrameDecoder()
    decoder.feed(record)
    return [parse_message(frame.payload) for frame in decoder.frames() if frame.kind is Kind.MESSAGE]


def names(scripts: list[Message], run_on: str) -> list[str]:
    return [script["name"] for script in scripts if script["run_on"] == run_on]


SENTINEL = "var/lib/rum/.system-provisioned"
LIST = "var/lib/rum/scripts.json"


def check_image(state: State) -> None:
    """What must be true before anything is repaired."""
    if SENTINEL in state.image:
        assert set(names(state.wanted, "system")) <= set(state.stored), "the sentinel is there too early"
    for script in json.loads(state.image.get(LIST, b"[]")):
        assert f"var/lib/rum/scripts/{script['content_sha256']}" in state.image, "a script of the list is not there"


def check_told(agent: Agent, state: State) -> None:
    """What clients were told of a run that is still kept is there, and means the same."""
    for path, told in state.told.items():
        run_id = path.split("/")[-2]
        kept = agent.attach(run_id).messages
        for message in messages(told):
            if message["type"] in ("script_exited", "result"):
                assert message in kept, f"clients were told of {message}, which is forgotten"


def passed_in_this_boot(state: State) -> set[str]:
    """Boot scripts of which clients were told that they have passed in the boot that goes on."""
    if not state.crash.same_boot:
        return set()
    records = [messages(told) for told in state.told.values()]
    passed = {
        message["name"]
        for record in records
        if record[:1] and record[0]["boot_id"] == state.boot_id
        for message in record
        if message["type"] == "script_exited" and message["exit_code"] == 0
    }
    return passed & set(names(state.wanted, "boot"))


def check_recovery(agent: Agent, state: State, journal: Path, check_settled: Callable[[], None] = lambda: None) -> None:
    """An agent on what is left: it serves, remembers what it told, repeats nothing, and can be brought to the end."""
    agent.play_boot(state.boot_id if state.crash.same_boot else "boot-after")
    before = len(journal.read_bytes())
    agent.start()
    provisioned = agent.status()["system_provisioned"]
    assert provisioned == (SENTINEL in state.image)
    check_told(agent, state)
    agent.wait_idle()
    check_settled()
    again = agent.provision(*state.wanted).end
    if again.get("success") is False and again.get("failed_script"):
        # The list was the failing one.
        assert "false" in next(s["content"] for s in state.wanted if s["name"] == again["failed_script"])
    else:
        subset(again, success=True, system_provisioned=True)
        subset(agent.provision(*state.wanted).end, success=True, run_id=None)
    marks = [json.loads(line) for line in journal.read_bytes()[before:].splitlines()]
    began, passed = ([mark["script"] for mark in marks if mark["step"] == step] for step in ("began", "passed"))
    assert len(passed) == len(set(passed)), f"ran twice: {passed}"
    assert not set(began) & passed_in_this_boot(state), "what clients know to have passed was run again"
    if provisioned:
        assert not set(began) & set(names(state.wanted, "system")), "a System script was run after the first boot"
    agent.stop()


def check_power_cut_after(disk: Disk, steps: list[Step]) -> None:
    """The power is cut while the successor of a killed agent is idle: everything that it found or did is there."""
    disk = disk.copy()
    for step in steps:
        disk.apply(step)
    seen, left = disk.image(Crash.KILLED), disk.image(Crash.POWER_ALL_LOST)
    assert left == seen, f"not durable: {[path for path in seen if left.get(path) != seen[path]]}"


@pytest.fixture
def story(guest: Agent, tmp_path_factory: pytest.TempPathFactory) -> Story:
    guest.limits = {"RECORDS_KEPT": KEPT}
    return Story(guest, tmp_path_factory.mktemp("story") / "journal")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_power_cut_after_any_step(
    story: Story, tmp_path: Path, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    scenario(story)
    story.agent.stop()
    found = states(story.steps(), story.agent.root, [crash for crash in Crash if not crash.same_boot])
    for number, state in enumerate(found):
        with agent_on(state, tmp_path / str(number)) as agent:
            check_recovery(agent, state, story.journal)
    record_property("states", len(found))
    assert len(found) > 10


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_agent_is_killed_after_any_step_and_the_power_is_cut_later(
    story: Story, tmp_path: Path, scenario: Scenario, record_property: Callable[[str, object], None]
) -> None:
    scenario(story)
    story.agent.stop()
    found = states(story.steps(), story.agent.root, [Crash.KILLED])
    for number, state in enumerate(found):
        with agent_on(state, tmp_path / str(number)) as agent:
            successor = Story(agent, tmp_path / f"{number}.journal")
            state.disk.moved_to(agent.root)

            def check_settled(disk: Disk = state.disk, successor: Story = successor) -> None:
                check_power_cut_after(disk, successor.steps())

            check_recovery(agent, state, story.journal, check_settled)
            check_settled()
    record_property("states", len(found))
    assert len(found) > 10


@contextlib.contextmanager
def agent_on(state: State, root: Path) -> Iterator[Agent]:
    """An agent that finds what the crash has left."""
    root.mkdir()
    write_image(state.image, root)
    with agent_in(root) as agent:
        yield agent
    shutil.rmtree(root)


NEVER_AGAIN = 1_000_000
"""So many failures in a row that the rest of a scenario is covered."""


@pytest.mark.parametrize(
    ("error", "failures"),
    [(errno.EIO, 1), (errno.ENOSPC, NEVER_AGAIN)],
    ids=["one step fails", "the disk is full from there on"],
)
def test_a_step_fails(
    tmp_path: Path, error: int, failures: int, record_property: Callable[[str, object], None]
) -> None:
    """Success is said only of what is durable, anything else has its reason, and the next agent goes on from there."""
    for number in itertools.count():
        root = tmp_path / str(number)
        (root / "story").mkdir(parents=True)
        with agent_in(root / "story") as agent:
            faulty = Story(agent, root / "journal")
            faulty.record(number, failures, error)
            agent.may_complain = True
            faulty.boot()
            answer = provision_with_reasons(faulty)
            agent.stop()
            check_complaints(agent)
        steps = faulty.steps()
        if not any(step["step"] == "failure" for step in steps):
            subset(answer, success=True)
            break
        state = states(steps, agent.root, [Crash.POWER_ALL_LOST])[-1]
        if answer.get("success"):
            assert SENTINEL in state.image, "success was said of what is gone after a power cut"
        else:
            # What clients were told came with the warning that it could not be recorded.
            state = replace(state, told={})
        with agent_on(state, root / "after") as agent:
            check_recovery(agent, state, faulty.journal)
        shutil.rmtree(root)
    record_property("states", number)
    assert number > 20


def provision_with_reasons(story: Story) -> Message:
    """Provision; an end that is no success must have said why."""
    scripts = [system(story.script("a"), "a"), boot(story.script("c"), "c")]
    story.tell("wanted", scripts=scripts)
    answer = story.agent.provision(*scripts)
    if answer.end["type"] == "error":
        subset(answer.end, code="internal")
        assert os.strerror(errno.EIO) in answer.end["message"] or os.strerror(errno.ENOSPC) in answer.end["message"]
    elif not answer.end["success"]:
        codes = {warning["code"] for warning in answer.of("warning")}
        assert codes == {"not-recorded"} or b"cannot start" in answer.stderr
    return answer.end


def check_complaints(agent: Agent) -> None:
    """An agent that cannot do something says so in a sentence."""
    for line in agent.stderr_file.read_text(encoding="utf-8").splitlines():
        assert line.startswith("rum-agent: "), line
