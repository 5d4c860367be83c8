"""What runs when: the table of docs/architecture.md, row by row, against the real agent."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rum.protocol.limits import RECORDS_KEPT
from tests.unit.agent.harness import VM_ID, Agent, boot, subset, system, wait_until


def trace(root: Path, word: str, then: str = "true") -> str:
    """A script that leaves a trace of having run."""
    return f"echo {word} >>{root}/trace; {then}"


def traces(agent: Agent) -> list[str]:
    file = agent.root / "trace"
    return file.read_text(encoding="ascii").split() if file.exists() else []


def last_of(agent: Agent, name: str) -> dict[str, object] | None:
    (entry,) = [entry for entry in agent.status()["scripts"] if entry["name"] == name]
    last: dict[str, object] | None = entry["last"]
    return last


class TestFirstBoot:
    def test_everything_runs_in_order_and_the_sentinel_is_written(self, agent: Agent) -> None:
        scripts = [
            boot(trace(agent.root, "boot"), order=1000),
            system(trace(agent.root, "late"), "late", order=100),
            system(trace(agent.root, "early"), "early", order=99),
            system(trace(agent.root, "alpha"), "alpha", order=100),
        ]
        result = agent.provision(*scripts).end
        assert traces(agent) == ["early", "alpha", "late", "boot"] == result["ran"]
        subset(
            result,
            success=True,
            failed_script=None,
            exit_code=None,
            signal=None,
            timed_out=False,
            cancelled=False,
            interrupted=False,
            first_boot=True,
            skipped=[],
            changed=[],
            system_provisioned=True,
            run_id=agent.runs[0],
        )
        assert json.loads(agent.sentinel.read_text(encoding="utf-8")) == {
            "vm_id": VM_ID,
            "boot_id": "boot-1",
            "run_id": result["run_id"],
        }

    def test_order_may_mix_the_kinds(self, agent: Agent) -> None:
        scripts = [boot(trace(agent.root, "boot"), order=1), system(trace(agent.root, "system"), order=2)]
        assert agent.provision(*scripts).end["ran"] == ["boot", "system"]

    def test_the_sentinel_is_there_before_a_boot_script_fails(self, agent: Agent) -> None:
        scripts = [system(trace(agent.root, "system")), boot(trace(agent.root, "boot", "exit 3"))]
        result = agent.provision(*scripts).end
        subset(result, success=False, failed_script="boot", exit_code=3, system_provisioned=True, first_boot=True)
        again = agent.provision(*scripts).end
        subset(again, success=False, first_boot=False, ran=["boot"], skipped=["system"])
        assert traces(agent) == ["system", "boot", "boot"]

    def test_the_boot_script_sees_the_sentinel(self, agent: Agent) -> None:
        assert agent.provision(system("true"), boot(f"test -s {agent.sentinel}")).end["success"]

    def test_a_system_script_does_not_see_it(self, agent: Agent) -> None:
        scripts = [system("true", "a"), system(f"test ! -e {agent.sentinel}", "b")]
        assert agent.provision(*scripts).end["success"]

    @pytest.mark.parametrize("scripts", [[], [boot("true")]], ids=["no-script", "boot-only"])
    @pytest.mark.parametrize("mode", ["auto", "all"])
    def test_without_a_system_script_it_is_over_at_once(
        self, agent: Agent, mode: str, scripts: list[dict[str, object]]
    ) -> None:
        subset(agent.provision(*scripts, mode=mode).end, success=True, first_boot=True, system_provisioned=True)
        assert agent.sentinel.exists()

    def test_a_failing_boot_script_before_a_system_script_leaves_no_sentinel(self, agent: Agent) -> None:
        scripts = [boot("exit 1", order=1), system("true", order=2)]
        subset(agent.provision(*scripts).end, success=False, ran=["boot"], system_provisioned=False)
        assert not agent.sentinel.exists()


class TestFailure:
    @pytest.mark.parametrize(
        ("content", "how"),
        [
            ("exit 1", {"exit_code": 1, "signal": None, "timed_out": False}),
            ("kill -9 $$", {"exit_code": None, "signal": 9, "timed_out": False}),
            ("#!/no/such/interpreter", {"exit_code": 127, "signal": None, "timed_out": False}),
            ("exec sleep 300", {"exit_code": None, "signal": 15, "timed_out": True}),
        ],
        ids=["exit", "signal", "cannot-start", "timeout"],
    )
    def test_later_scripts_do_not_run_and_the_result_names_it(
        self, agent: Agent, content: str, how: dict[str, object]
    ) -> None:
        scripts = [system("true", "a"), system(content, "b", timeout_s=1), system("true", "c"), boot("true")]
        result = agent.provision(*scripts).end
        subset(result, success=False, failed_script="b", ran=["a", "b"], skipped=[], **how)
        assert not agent.sentinel.exists()
        last = last_of(agent, "b")
        assert last is not None
        subset(last, run_id=result["run_id"], boot_id="boot-1", **how)
        assert last_of(agent, "c") is None

    def test_all_system_scripts_run_again_in_order(self, agent: Agent) -> None:
        good = system(trace(agent.root, "a"), "a")
        agent.provision(good, system(trace(agent.root, "b", "exit 1"), "b"))
        result = agent.provision(good, system(trace(agent.root, "fixed"), "b")).end
        subset(result, success=True, ran=["a", "b"], skipped=[], first_boot=True)
        assert traces(agent) == ["a", "b", "a", "fixed"]

    def test_a_boot_script_that_passed_is_not_run_again_in_this_boot(self, agent: Agent) -> None:
        early = boot(trace(agent.root, "boot"), order=1)
        agent.provision(early, system("exit 1"))
        result = agent.provision(early, system("true")).end
        subset(result, success=True, ran=["system"], skipped=["boot"])
        assert traces(agent) == ["boot"]

    def test_a_failed_first_boot_waits_for_the_host_after_a_reboot(self, agent: Agent) -> None:
        agent.provision(system("exit 1"), boot(trace(agent.root, "boot")))
        agent.reboot("boot-2")
        assert agent.status()["run"] is None
        assert len(agent.runs) == 1
        assert traces(agent) == []


class TestLaterBoots:
    def test_the_boot_scripts_run_by_themselves_once(self, agent: Agent) -> None:
        agent.provision(system(trace(agent.root, "system")), boot(trace(agent.root, "boot")))
        agent.reboot("boot-2")
        result = agent.wait_idle()
        subset(result, success=True, first_boot=False, ran=["boot"], skipped=["system"], run_id=agent.runs[1])
        subset(agent.attach().of("run_started")[0], trigger="boot", boot_id="boot-2", first_boot=False)
        assert traces(agent) == ["system", "boot", "boot"]

    def test_a_provision_finds_nothing_left_to_do(self, agent: Agent) -> None:
        scripts = [system("true"), boot(trace(agent.root, "boot"))]
        agent.provision(*scripts)
        agent.reboot("boot-2")
        agent.wait_idle()
        subset(agent.provision(*scripts).end, run_id=None, ran=[], skipped=["system", "boot"])
        assert traces(agent) == ["boot", "boot"]

    def test_clients_are_served_while_they_run_and_can_attach(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        scripts = [system("true"), boot(f"echo waiting; until [ -e {gate} ]; do sleep 0.01; done; echo done")]
        gate.touch()
        agent.provision(*scripts)
        gate.unlink()
        agent.reboot("boot-2")
        subset(agent.status()["run"], trigger="boot", script="boot", index=1, total=1)
        with agent.connect().request("attach", run_id=None) as by_attaching:
            by_attaching.wait_for_output(b"waiting")
            with agent.connect().request("provision", scripts=scripts) as by_provisioning:
                by_provisioning.wait_for_output(b"waiting")
                gate.touch()
                assert by_attaching.finish().record == by_provisioning.finish().record
        assert len(agent.runs) == 2

    def test_changed_scripts_are_busy_while_it_runs_and_run_after_it(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        gate.touch()
        old = boot(f"until [ -e {gate} ]; do sleep 0.01; done")
        agent.provision(old)
        gate.unlink()
        agent.reboot("boot-2")
        new = boot(trace(agent.root, "new"))
        subset(agent.provision(new).end, type="error", code="busy")
        gate.touch()
        assert agent.wait_idle()["success"]
        assert agent.provision(new).end["ran"] == ["boot"]
        assert traces(agent) == ["new"]

    @pytest.mark.parametrize("then", ["true", "false"], ids=["passed", "failed"])
    def test_a_restart_within_the_boot_runs_nothing(self, agent: Agent, then: str) -> None:
        agent.provision(system("true"), boot(trace(agent.root, "boot", then)))
        agent.reboot("boot-2")
        agent.wait_idle()
        agent.restart()
        assert agent.status()["run"] is None
        agent.stop()
        agent.start()
        assert traces(agent) == ["boot", "boot"]
        assert len(agent.runs) == 2

    def test_a_restart_after_the_first_provision_runs_nothing(self, agent: Agent) -> None:
        agent.provision(system("true"), boot(trace(agent.root, "boot", "exit 1")))
        agent.restart()
        assert agent.status()["run"] is None
        assert traces(agent) == ["boot"]

    def test_nothing_runs_without_boot_scripts(self, agent: Agent) -> None:
        agent.provision(system("true"))
        agent.reboot("boot-2")
        assert agent.status()["run"] is None
        assert len(agent.runs) == 1

    def test_a_boot_script_that_was_edited_runs_again_in_the_same_boot(self, agent: Agent) -> None:
        agent.provision(boot(trace(agent.root, "old")))
        assert agent.provision(boot(trace(agent.root, "new"))).end["ran"] == ["boot"]
        subset(agent.provision(boot(trace(agent.root, "old"))).end, run_id=None, skipped=["boot"])
        assert traces(agent) == ["old", "new"]

    def test_its_environment_is_part_of_it(self, agent: Agent) -> None:
        agent.provision(boot("true", env={"A": "1"}))
        assert agent.provision(boot("true", env={"A": "2"})).end["ran"] == ["boot"]
        assert agent.provision(boot("true", env={"A": "2"})).end["run_id"] is None

    def test_what_is_not_sent_any_more_is_not_run_any_more(self, agent: Agent) -> None:
        agent.provision(boot(trace(agent.root, "a"), "a"), boot(trace(agent.root, "b"), "b"))
        agent.provision(boot(trace(agent.root, "a"), "a"))
        agent.reboot("boot-2")
        assert agent.wait_idle()["ran"] == ["a"]


class TestModes:
    def test_system_runs_system_scripts_regardless_and_merges(self, agent: Agent) -> None:
        agent.provision(system(trace(agent.root, "a"), "a"), boot("true"))
        result = agent.provision(system(trace(agent.root, "b"), "b"), boot("false", "other"), mode="system").end
        subset(result, success=True, ran=["b"], skipped=["other"], first_boot=False)
        assert [entry["name"] for entry in agent.status()["scripts"]] == ["a", "b", "boot", "other"]
        assert traces(agent) == ["a", "b"]

    def test_boot_runs_boot_scripts_regardless(self, agent: Agent) -> None:
        scripts = [system(trace(agent.root, "system")), boot(trace(agent.root, "boot"))]
        agent.provision(*scripts)
        subset(agent.provision(*scripts, mode="boot").end, success=True, ran=["boot"], skipped=["system"])
        assert traces(agent) == ["system", "boot", "boot"]

    def test_all_runs_everything_again(self, agent: Agent) -> None:
        scripts = [system(trace(agent.root, "system")), boot(trace(agent.root, "boot"))]
        agent.provision(*scripts)
        subset(agent.provision(*scripts, mode="all").end, success=True, ran=["system", "boot"], skipped=[])
        assert traces(agent) == ["system", "boot", "system", "boot"]

    @pytest.mark.parametrize(("mode", "written"), [("auto", True), ("all", True), ("system", False), ("boot", False)])
    def test_which_of_them_end_the_first_boot(self, agent: Agent, mode: str, written: bool) -> None:
        result = agent.provision(system("true"), boot("true"), mode=mode).end
        assert result["system_provisioned"] is agent.sentinel.exists() is written
        assert result["first_boot"] is True

    def test_a_system_script_that_passed_in_mode_system_runs_once_more_in_the_first_boot(self, agent: Agent) -> None:
        agent.provision(system(trace(agent.root, "a")), mode="system")
        assert agent.provision(system(trace(agent.root, "a"))).end["ran"] == ["system"]

    def test_a_script_is_replaced_under_its_name(self, agent: Agent) -> None:
        agent.provision(boot("false"), boot(trace(agent.root, "kept"), "kept"), mode="system")
        agent.provision(boot(trace(agent.root, "new")), mode="boot")
        assert traces(agent) == ["new"]
        hashes = {entry["name"]: entry["sha256"] for entry in agent.status()["scripts"]}
        assert hashes["boot"] == hashlib.sha256(trace(agent.root, "new").encode()).hexdigest()
        assert set(hashes) == {"boot", "kept"}


class TestChanged:
    def test_an_edited_system_script_is_reported_until_it_passes(self, agent: Agent) -> None:
        agent.provision(system(trace(agent.root, "old")))
        edited = system(trace(agent.root, "new"))
        for _ in range(2):
            subset(agent.provision(edited).end, run_id=None, changed=["system"], ran=[], skipped=[])
        subset(agent.provision(edited, mode="system").end, success=True, ran=["system"], changed=[])
        subset(agent.provision(edited).end, changed=[], skipped=["system"])
        assert traces(agent) == ["old", "new"]

    def test_a_boot_that_runs_by_itself_reports_it_alike(self, agent: Agent) -> None:
        agent.provision(system("true"), boot("true"))
        agent.provision(system("echo new"), boot("true"))
        agent.reboot("boot-2")
        subset(agent.wait_idle(), ran=["boot"], changed=["system"], skipped=[])

    def test_so_is_one_that_was_added(self, agent: Agent) -> None:
        agent.provision(system("true"))
        result = agent.provision(system("true"), system("true", "added"), boot("true")).end
        subset(result, success=True, ran=["boot"], changed=["added"], skipped=["system"])

    def test_it_stays_reported_while_it_fails_and_when_it_is_edited_back(self, agent: Agent) -> None:
        agent.provision(system("true"))
        subset(agent.provision(system("false"), mode="system").end, success=False, changed=["system"])
        subset(agent.provision(system("false")).end, changed=["system"])
        subset(agent.provision(system("true")).end, changed=[])

    def test_it_is_not_changed_in_the_first_boot(self, agent: Agent) -> None:
        agent.provision(system("false"))
        subset(agent.provision(system("exit 2")).end, changed=[], ran=["system"])

    def test_a_run_that_does_not_touch_it_reports_it_too(self, agent: Agent) -> None:
        agent.provision(system("true"))
        result = agent.provision(system("exit 0"), boot("true"), mode="boot").end
        subset(result, ran=["boot"], changed=["system"], skipped=[])

    def test_another_timeout_or_order_is_no_change(self, agent: Agent) -> None:
        agent.provision(system("true"))
        subset(agent.provision(system("true", order=5, timeout_s=9)).end, changed=[], skipped=["system"])


class TestSecondProvision:
    def test_the_same_scripts_attach(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"echo begun; until [ -e {gate} ]; do sleep 0.01; done"
        with agent.connect().request("provision", scripts=[system(content), boot("true")]) as first:
            first.wait_for_output(b"begun")
            # The same, spelled differently: another order, defaults written out.
            spelled = [
                boot("true", after="network-online", timeout_s=None),
                system(content, env={}, after="cloud-init", timeout_s=None),
            ]
            with agent.connect().request("provision", scripts=spelled, mode="auto") as second:
                second.wait_for("run_started")
                gate.touch()
                assert first.finish().record == second.finish().record
        assert len(agent.runs) == 1

    @pytest.mark.parametrize(
        "change",
        [
            {"content": "true"},
            {"order": 101},
            {"timeout_s": 100},
            {"env": {"A": "B"}},
            {"after": "local-fs"},
            {"run_on": "boot"},
            {"name": "other"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_anything_else_is_busy(self, agent: Agent, change: dict[str, object]) -> None:
        gate = agent.root / "gate"
        running = system(f"echo begun; until [ -e {gate} ]; do sleep 0.01; done")
        with agent.connect().request("provision", scripts=[running]) as first:
            first.wait_for_output(b"begun")
            subset(agent.provision({**running, **change}).end, type="error", code="busy")
            subset(agent.provision(running, mode="all").end, type="error", code="busy")
            gate.touch()
            assert first.finish().end["success"]
        assert [entry["name"] for entry in agent.status()["scripts"]] == ["system"]

    def test_the_client_vanishes_and_the_run_goes_on(self, agent: Agent) -> None:
        gate = agent.root / "gate"
        content = f"echo begun; until [ -e {gate} ]; do sleep 0.01; done; echo ended"
        with agent.connect().request("provision", scripts=[system(content)]) as first:
            first.wait_for_output(b"begun")
        gate.touch()
        later = agent.attach()
        subset(later.end, success=True, ran=["system"])
        assert later.types[0] == "run_started"
        assert later.stdout == b"begun\nended\n"


class TestNothingToRun:
    def test_it_is_answered_and_not_recorded(self, agent: Agent) -> None:
        scripts = [system("true"), boot("true")]
        first = agent.provision(*scripts).end
        for _ in range(RECORDS_KEPT + 1):
            answer = agent.provision(*scripts)
            assert answer.types == ["result"]
            subset(answer.end, success=True, run_id=None, ran=[], skipped=["system", "boot"], failed_script=None)
        assert agent.runs == [first["run_id"]]
        assert agent.attach().end["run_id"] == first["run_id"]


class TestCache:
    def test_it_is_named_by_content_and_private(self, agent: Agent) -> None:
        agent.provision(system("true"), boot("true"), boot(":", "other"))
        files = sorted((agent.state_dir / "scripts").iterdir())
        assert [file.name for file in files] == sorted(hashlib.sha256(text).hexdigest() for text in (b"true", b":"))
        assert {file.stat().st_mode & 0o7777 for file in files} == {0o700}
        agent.provision(boot(":", "other"))
        assert [file.read_text(encoding="ascii") for file in (agent.state_dir / "scripts").iterdir()] == [":"]

    @pytest.mark.parametrize("damage", ["", "echo damaged"], ids=["emptied", "changed"])
    def test_a_damaged_script_is_never_run(self, agent: Agent, damage: str) -> None:
        agent.provision(boot(trace(agent.root, "boot")))
        (file,) = (agent.state_dir / "scripts").iterdir()
        file.write_text(damage, encoding="ascii")
        agent.reboot("boot-2")
        subset(agent.wait_idle(), success=False, failed_script="boot", exit_code=127)
        assert b"damaged" in agent.attach().stderr
        assert agent.attach().stdout == b""
        agent.provision(boot(trace(agent.root, "boot")))
        assert traces(agent) == ["boot", "boot"]

    @pytest.mark.parametrize("text", ["", "[1]", '{"boot": {"boot_id": 1}}', '[{"name": "x"}]'])
    @pytest.mark.parametrize("name", ["scripts.json", "state.json"])
    def test_a_foreign_state_file_counts_as_absent(self, agent: Agent, name: str, text: str) -> None:
        scripts = [system("true"), boot("true")]
        agent.provision(*scripts)
        agent.stop()
        (agent.state_dir / name).write_text(text, encoding="ascii")
        agent.start()
        assert agent.provision(*scripts).end["success"]

    def test_texts_that_were_refused_are_not_kept_for_long(self, agent: Agent) -> None:
        subset(agent.provision(system("# kept out"), system("x", "X")).end, code="bad-request")
        agent.provision(system("true"))
        assert len(list((agent.state_dir / "scripts").iterdir())) == 1


def test_the_last_runs_are_kept(agent: Agent) -> None:
    results = [agent.provision(boot("true"), mode="boot").end["run_id"] for _ in range(RECORDS_KEPT + 3)]
    assert agent.runs == results[-RECORDS_KEPT:]
    subset(agent.attach(results[0]).end, type="error", code="not-found")
    assert agent.attach(results[-RECORDS_KEPT]).end["run_id"] == results[-RECORDS_KEPT]


def test_status_knows_it_all(agent: Agent) -> None:
    before = agent.status()
    subset(before, boot_id="boot-1", vm_id=VM_ID, system_provisioned=False, run=None, scripts=[])
    assert before["uptime_s"] > 0
    assert set(before) == {
        "type",
        "agent_version",
        "python",
        "boot_id",
        "vm_id",
        "uptime_s",
        "system_provisioned",
        "run",
        "scripts",
    }
    run_id = agent.provision(boot("exit 4"), system("true")).end["run_id"]
    assert agent.status()["scripts"] == [
        {
            "name": name,
            "order": order,
            "run_on": run_on,
            "sha256": hashlib.sha256(content).hexdigest(),
            "last": {
                "run_id": run_id,
                "boot_id": "boot-1",
                "sha256": hashlib.sha256(content).hexdigest(),
                "exit_code": code,
                "signal": None,
                "timed_out": False,
            },
        }
        for name, order, run_on, content, code in [
            ("system", 100, "system", b"true", 0),
            ("boot", 200, "boot", b"exit 4", 4),
        ]
    ]


def test_status_says_what_runs(agent: Agent) -> None:
    with agent.connect().request("provision", scripts=[system("true", "a"), system("sleep 300", "b")]) as client:
        client.read_until(lambda answer: len(answer.of("script_started")) == 2)
        run = agent.status()["run"]
        assert run == {"run_id": agent.runs[0], "trigger": "host", "script": "b", "index": 2, "total": 2}
        agent.call("cancel", run_id=None)
        client.finish()
    wait_until(lambda: agent.status()["run"] is None, "the run has ended")
