"""Hypothesis explores what can happen to an agent against a model of docs/architecture.md's table.

Scripts are provisioned, changed, interrupted; the agent is restarted, killed, rebooted; clients vanish; the disk fills.
After each step the agent and the marks that the scripts have left must be what the model says.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from rum.agent.ledger import Ledger
from rum.agent.settings import Settings
from rum.protocol import Message
from tests.unit.agent.conftest import agent_in
from tests.unit.agent.harness import Agent, script, subset, wait_until

ORDER = {"a": 100, "b": 110, "c": 200, "d": 210}
RUN_ON = {"a": "system", "b": "system", "c": "boot", "d": "boot"}


@dataclass(frozen=True)
class Spec:
    """A script of the universe: what it does depends on its name, its version and its outcome."""

    name: str
    version: int
    outcome: str
    """ "pass", "fail"; "hang" and "fill": passes, but hangs, or leaves the disk full, while it is told to."""

    @property
    def run_on(self) -> str:
        return RUN_ON[self.name]


specs = st.builds(
    Spec, name=st.sampled_from("abcd"), version=st.integers(1, 2), outcome=st.sampled_from(["pass", "pass", "fail"])
)
lists = st.lists(specs, max_size=4, unique_by=lambda spec: spec.name).map(
    lambda found: sorted(found, key=lambda spec: ORDER[spec.name])
)
modes = st.sampled_from(["auto", "auto", "auto", "system", "boot", "all"])


@dataclass
class Expected:
    """What a run of the model did."""

    ran: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: str | None = None
    recorded: bool = True

    @property
    def success(self) -> bool:
        return self.failed is None and self.recorded


class Model:
    """The agent, without anything that is hard about it."""

    def __init__(self) -> None:
        self.sentinel = False
        self.cache: dict[str, Spec] = {}
        self.system_passed: dict[str, Spec] = {}
        self.boot_passed: set[Spec] = set()
        self.boot_tried = False
        self.marks: list[str] = []

    def cached(self) -> list[Spec]:
        return sorted(self.cache.values(), key=lambda spec: ORDER[spec.name])

    def changed(self) -> list[str]:
        return [
            spec.name
            for spec in self.cached()
            if self.sentinel and spec.run_on == "system" and self.system_passed.get(spec.name) != spec
        ]

    def must_run(self, mode: str, spec: Spec) -> bool:
        if mode != "auto":
            return mode in ("all", spec.run_on)
        return not self.sentinel if spec.run_on == "system" else spec not in self.boot_passed

    def provision(
        self, mode: str, wanted: list[Spec], *, stop_at: str | None = None, full_after: str | None = None
    ) -> Expected:
        """What the request does; `stop_at` hangs until it is stopped, `full_after` leaves the disk full."""
        self.cache = {**({} if mode == "auto" else self.cache), **{spec.name: spec for spec in wanted}}
        plan = [spec for spec in wanted if self.must_run(mode, spec)]
        expected = Expected(
            skipped=[spec.name for spec in wanted if spec not in plan and not self.is_changed(spec)],
        )
        decides = {spec.name for spec in wanted if spec.run_on == "system"} if mode in ("auto", "all") else None
        self.run(plan, expected, decides, stop_at, full_after)
        return expected

    def is_changed(self, spec: Spec) -> bool:
        return self.sentinel and spec.run_on == "system" and self.system_passed.get(spec.name) != spec

    def run(
        self,
        plan: list[Spec],
        expected: Expected,
        decides: set[str] | None,
        stop_at: str | None = None,
        full_after: str | None = None,
    ) -> None:
        """Run the plan; `decides` are the System scripts whose passing ends the first boot, None if nothing does."""
        passed: set[str] = set()
        self.end_first_boot(decides, passed, expected)
        for spec in plan:
            expected.ran.append(spec.name)
            self.marks.append(f"{spec.name}{spec.version}")
            self.boot_tried = self.boot_tried or spec.run_on == "boot"
            if spec.outcome == "fail" or spec.name == stop_at:
                expected.failed = spec.name
                return
            if spec.name == full_after:
                expected.recorded = False
            self.note_passed(spec)
            passed.add(spec.name)
            self.end_first_boot(decides, passed, expected)

    def note_passed(self, spec: Spec) -> None:
        if spec.run_on == "system":
            self.system_passed[spec.name] = spec
        else:
            self.boot_passed.add(spec)

    def end_first_boot(self, decides: set[str] | None, passed: set[str], expected: Expected) -> None:
        if decides is not None and decides <= passed and expected.recorded:
            self.sentinel = True

    def boots(self) -> None:
        """Another boot of the machine."""
        self.boot_passed.clear()
        self.boot_tried = False

    def starts(self) -> Expected | None:
        """What an agent that starts does by itself."""
        boot_scripts = [spec for spec in self.cached() if spec.run_on == "boot"]
        if not self.sentinel or self.boot_tried or not boot_scripts:
            return None
        system = [spec for spec in self.cached() if spec.run_on == "system"]
        expected = Expected(skipped=[spec.name for spec in system if not self.is_changed(spec)])
        self.run(boot_scripts, expected, None)
        return expected


class AgentMachine(RuleBasedStateMachine):
    """A real agent beside the model."""

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = contextlib.ExitStack()
        self.root = Path(tempfile.mkdtemp(prefix="rum-"))
        self.cleanup.callback(shutil.rmtree, self.root)
        (self.root / "guest/var/lib").mkdir(parents=True)
        self.marks, self.hang, self.fill, self.full = (self.root / name for name in ("marks", "hang", "fill", "full"))
        self.agent: Agent = self.cleanup.enter_context(agent_in(self.root / "guest"))
        self.agent.setup = (
            "from tests.unit.agent.recorder import install\n"
            f"install({str(self.root / 'journal')!r}, full={str(self.full)!r})"
        )
        self.model = Model()
        self.boot_number = 1

    def teardown(self) -> None:
        self.hang.unlink(missing_ok=True)
        self.cleanup.close()

    @initialize()
    def begin(self) -> None:
        self.agent.start()

    def to_wire(self, spec: Spec) -> Message:
        endings = {
            "pass": "true",
            "fail": "exit 3",
            "hang": f"while [ -e {self.hang} ]; do sleep 0.01; done",
            "fill": f"if [ -e {self.fill} ]; then touch {self.full}; fi",
        }
        content = f"echo {spec.name}{spec.version} >>{self.marks}\necho began\n{endings[spec.outcome]}\n"
        return script(spec.name, content, order=ORDER[spec.name], run_on=spec.run_on)

    def check(self, end: Message, expected: Expected) -> None:
        """The result of a run, or of a request for which nothing had to run."""
        subset(
            end,
            type="result",
            success=expected.success,
            ran=expected.ran,
            skipped=expected.skipped,
            failed_script=expected.failed,
            changed=self.model.changed(),
            system_provisioned=self.model.sentinel,
        )
        assert (end["run_id"] is None) == (not expected.ran)

    def check_start(self) -> None:
        """Start the agent, which may begin a run by itself."""
        expected = self.model.starts()
        self.agent.start()
        if expected:
            subset(self.agent.attach().of("run_started")[0], trigger="boot")
            self.check(self.agent.attach().end, expected)

    @rule(wanted=lists, mode=modes)
    def provision(self, wanted: list[Spec], mode: str) -> None:
        expected = self.model.provision(mode, wanted)
        self.check(self.agent.provision(*map(self.to_wire, wanted), mode=mode).end, expected)

    @rule(wanted=lists)
    def provision_and_vanish(self, wanted: list[Spec]) -> None:
        expected = self.model.provision("auto", wanted)
        client = self.agent.connect().request("provision", scripts=list(map(self.to_wire, wanted)), mode="auto")
        client.close()
        wait_until(
            lambda: {entry["name"] for entry in self.agent.status()["scripts"]} == set(self.model.cache),
            "the request was served",
        )
        if expected.ran:
            wait_until(lambda: self.agent.status()["run"] is None, "the run has ended")

    @rule(wanted=lists, mode=modes, index=st.integers(0, 3), how=st.sampled_from(["cancel", "term", "kill", "power"]))
    def stop_in_the_middle(self, wanted: list[Spec], mode: str, index: int, how: str) -> None:
        """The script at this place hangs, and then somebody or something puts an end to it."""
        wanted = [Spec(spec.name, spec.version, "hang") if at == index else spec for at, spec in enumerate(wanted)]
        stop_at = wanted[index].name if index < len(wanted) else None
        expected = self.model.provision(mode, wanted, stop_at=stop_at)
        if expected.failed != stop_at or stop_at is None:
            # It is not reached.
            self.check(self.agent.provision(*map(self.to_wire, wanted), mode=mode).end, expected)
            return
        self.hang.touch()
        client = self.agent.connect().request("provision", scripts=list(map(self.to_wire, wanted)), mode=mode)
        client.read_until(lambda answer: answer.stdout.count(b"began\n") == len(expected.ran))
        if how == "cancel":
            assert self.agent.call("cancel", run_id=None).end["cancelled"]
            end = client.finish().end
        else:
            client.close()
            self.agent.stop() if how == "term" else self.agent.kill()
            end = {}
        self.hang.unlink()
        if how == "power":
            self.next_boot()
        if how != "cancel":
            run_id = self.agent.runs[-1]
            interrupted = self.model.sentinel, self.model.changed()
            self.check_start()
            end = self.agent.attach(run_id).end
            subset(end, interrupted=True, system_provisioned=interrupted[0], changed=interrupted[1])
        subset(end, success=False, failed_script=stop_at, ran=expected.ran, cancelled=how == "cancel")

    @rule(wanted=lists, index=st.integers(0, 3))
    def fill_the_disk(self, wanted: list[Spec], index: int) -> None:
        """The script at this place leaves the disk full; there is room again in the next boot."""
        wanted = [Spec(spec.name, spec.version, "fill") if at == index else spec for at, spec in enumerate(wanted)]
        passed_before = dict(self.model.system_passed)
        full_after = wanted[index].name if index < len(wanted) else None
        expected = self.model.provision("auto", wanted, full_after=full_after)
        self.fill.touch()
        end = self.agent.provision(*map(self.to_wire, wanted)).end
        self.fill.unlink()
        if expected.recorded:
            self.check(end, expected)
            return
        subset(end, success=False, ran=expected.ran, failed_script=expected.failed)
        assert self.agent.sentinel.exists() == self.model.sentinel
        self.agent.stop()
        self.full.unlink()
        self.next_boot()
        self.forget_unless_recorded(end["run_id"], passed_before)
        self.check_start()

    def forget_unless_recorded(self, run_id: str, passed_before: dict[str, Spec]) -> None:
        """What has passed on a full disk may be forgotten, and then counts as before."""
        ledger = Ledger(Settings(root=str(self.root / "guest")), "any")
        for name in list(self.model.system_passed):
            if (ledger.last(name) or {}).get("run_id") != run_id:
                self.model.system_passed.pop(name)
                if name in passed_before:
                    self.model.system_passed[name] = passed_before[name]

    @rule()
    def restart(self) -> None:
        self.agent.stop()
        self.check_start()

    @rule()
    def kill(self) -> None:
        self.agent.kill()
        self.check_start()

    @rule(clean=st.booleans())
    def reboot(self, clean: bool) -> None:
        self.agent.stop() if clean else self.agent.kill()
        self.next_boot()
        self.check_start()

    def next_boot(self) -> None:
        self.boot_number += 1
        self.agent.play_boot(f"boot-{self.boot_number}")
        self.model.boots()

    @invariant()
    def agrees_with_the_model(self) -> None:
        if not self.agent.is_started:
            return
        status = self.agent.status()
        subset(status, system_provisioned=self.model.sentinel, run=None)
        assert [entry["name"] for entry in status["scripts"]] == [spec.name for spec in self.model.cached()]
        assert (self.marks.read_text().split() if self.marks.exists() else []) == self.model.marks


TestAgentMachine = AgentMachine.TestCase
TestAgentMachine.settings = settings(max_examples=25, stateful_step_count=12, suppress_health_check=list(HealthCheck))
