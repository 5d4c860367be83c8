"""What runs, of every kind of script in every state: the decisions alone, on a ledger of real files.

`test_schedule.py` shows the same of the whole agent; here every case is affordable, which mutation testing needs.
"""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from rum.agent import durable
from rum.agent.cache import CachedScript, in_order
from rum.agent.ledger import APPENDED_MAX, Ledger, Outcome, State, apply, encode_line
from rum.agent.plan import Plan, changed_scripts, make_plan
from rum.agent.settings import Settings
from rum.protocol.scripts import After, Mode, RunOn

PASSED = {"run_id": "r", "exit_code": 0, "signal": None, "timed_out": False}
OUTCOME = (*PASSED, "sha256", "boot_id")


def script(name: str, run_on: RunOn = RunOn.SYSTEM, order: int = 100, content: str = "a") -> CachedScript:
    return CachedScript(name, order, run_on, content * 64, None, {}, After.LOCAL_FS)


SYSTEM, BOOT = script("system"), script("boot", RunOn.BOOT, 200)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(root=str(tmp_path))
    Path(settings.state_dir).mkdir(parents=True)
    return settings


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return Ledger(settings, "boot-1")


def outcome(one: CachedScript, boot_id: str = "boot-1", **more: object) -> Outcome:
    return {**PASSED, "sha256": one.sha256, "boot_id": boot_id, **more}


def pass_(ledger: Ledger, *scripts: CachedScript, boot_id: str = "boot-1") -> None:
    for one in scripts:
        ledger.note_start(one)
        ledger.note_end(one, outcome(one, boot_id), passed=True)


def end_first_boot(ledger: Ledger, *scripts: CachedScript) -> None:
    pass_(ledger, *scripts)
    ledger.write_sentinel("vm", "run")


class TestPlan:
    def test_the_first_boot_runs_everything(self, ledger: Ledger) -> None:
        assert make_plan(Mode.AUTO, [SYSTEM, BOOT], ledger) == Plan([SYSTEM, BOOT], [])

    def test_a_system_script_runs_again_until_the_first_boot_is_over(self, ledger: Ledger) -> None:
        pass_(ledger, SYSTEM)
        assert make_plan(Mode.AUTO, [SYSTEM, BOOT], ledger) == Plan([SYSTEM, BOOT], [])

    def test_a_boot_script_runs_once_in_a_boot_also_before_the_sentinel(self, ledger: Ledger) -> None:
        pass_(ledger, BOOT)
        assert make_plan(Mode.AUTO, [SYSTEM, BOOT], ledger) == Plan([SYSTEM], ["boot"])

    def test_after_the_first_boot_nothing_is_left_in_it(self, ledger: Ledger) -> None:
        end_first_boot(ledger, SYSTEM, BOOT)
        assert make_plan(Mode.AUTO, [SYSTEM, BOOT], ledger) == Plan([], ["system", "boot"])

    def test_in_the_next_boot_the_boot_script_runs(self, ledger: Ledger, settings: Settings) -> None:
        end_first_boot(ledger, SYSTEM, BOOT)
        assert make_plan(Mode.AUTO, [SYSTEM, BOOT], Ledger(settings, "boot-2")) == Plan([BOOT], ["system"])

    @pytest.mark.parametrize(
        ("mode", "run", "skipped"),
        [
            (Mode.SYSTEM, [SYSTEM], ["boot"]),
            (Mode.BOOT, [BOOT], ["system"]),
            (Mode.ALL, [SYSTEM, BOOT], []),
        ],
    )
    @pytest.mark.parametrize("over", [False, True])
    def test_an_explicit_mode_asks_for_the_kind_alone(
        self, ledger: Ledger, mode: Mode, run: list[CachedScript], skipped: list[str], *, over: bool
    ) -> None:
        if over:
            end_first_boot(ledger, SYSTEM, BOOT)
        assert make_plan(mode, [SYSTEM, BOOT], ledger) == Plan(run, skipped)

    def test_an_edited_system_script_is_neither_run_nor_skipped(self, ledger: Ledger) -> None:
        end_first_boot(ledger, SYSTEM)
        edited, added = script("system", content="b"), script("added")
        scripts = [SYSTEM, added, BOOT]
        assert make_plan(Mode.AUTO, [edited, added, BOOT], ledger) == Plan([BOOT], [])
        assert make_plan(Mode.AUTO, scripts, ledger) == Plan([BOOT], ["system"])
        assert changed_scripts([edited, added, BOOT], ledger) == ["system", "added"]

    def test_an_edited_boot_script_runs_again(self, ledger: Ledger) -> None:
        end_first_boot(ledger, SYSTEM, BOOT)
        edited = script("boot", RunOn.BOOT, content="b")
        assert make_plan(Mode.AUTO, [SYSTEM, edited], ledger) == Plan([edited], ["system"])
        assert changed_scripts([edited], ledger) == []

    def test_nothing_has_changed_before_the_first_boot_is_over(self, ledger: Ledger) -> None:
        assert changed_scripts([SYSTEM], ledger) == []

    def test_order_is_a_number_and_then_a_name(self) -> None:
        scripts = [script("b", order=100), script("a", order=100), script("z", order=99), script("y", order=1000)]
        assert [one.name for one in in_order(scripts)] == ["z", "a", "b", "y"]


class TestLedger:
    def test_a_new_one_knows_nothing(self, ledger: Ledger) -> None:
        assert not ledger.system_provisioned
        assert not ledger.boot_tried
        assert not ledger.has_passed(SYSTEM)
        assert not ledger.has_passed(BOOT)
        assert ledger.last("system") is None

    def test_it_is_remembered_by_the_next_agent(self, ledger: Ledger, settings: Settings) -> None:
        end_first_boot(ledger, SYSTEM, BOOT)
        for known in (ledger, Ledger(settings, "boot-1")):
            assert known.system_provisioned
            assert known.boot_tried
            assert known.has_passed(SYSTEM)
            assert known.has_passed(BOOT)
            assert known.last("system") == outcome(SYSTEM)
            assert known.last("boot") == outcome(BOOT)

    def test_a_boot_forgets_boot_scripts_and_nothing_else(self, ledger: Ledger, settings: Settings) -> None:
        end_first_boot(ledger, SYSTEM, BOOT)
        later = Ledger(settings, "boot-2")
        assert later.system_provisioned
        assert later.has_passed(SYSTEM)
        assert not later.boot_tried
        assert not later.has_passed(BOOT)
        assert later.last("boot") == outcome(BOOT)

    def test_what_passed_in_an_earlier_boot_stays_forgotten_once_another_passes(
        self, ledger: Ledger, settings: Settings
    ) -> None:
        pass_(ledger, BOOT)
        later, other = Ledger(settings, "boot-2"), script("other", RunOn.BOOT)
        pass_(later, other, boot_id="boot-2")
        assert later.has_passed(other)
        assert not later.has_passed(BOOT)

    def test_a_start_counts_as_tried_whatever_comes_of_it(self, ledger: Ledger, settings: Settings) -> None:
        ledger.note_start(SYSTEM)
        assert not Ledger(settings, "boot-1").boot_tried
        ledger.note_start(BOOT)
        assert ledger.boot_tried
        assert Ledger(settings, "boot-1").boot_tried
        assert not ledger.has_passed(BOOT)

    @pytest.mark.parametrize("one", [SYSTEM, BOOT], ids=["system", "boot"])
    def test_a_failure_is_the_last_outcome_and_no_pass(
        self, ledger: Ledger, settings: Settings, one: CachedScript
    ) -> None:
        failed = outcome(one, exit_code=3)
        ledger.note_end(one, failed, passed=False)
        for known in (ledger, Ledger(settings, "boot-1")):
            assert not known.has_passed(one)
            assert known.last(one.name) == failed

    def test_of_a_system_script_the_last_version_counts(self, ledger: Ledger) -> None:
        edited = SYSTEM._replace(content_sha256="b" * 64)
        pass_(ledger, SYSTEM, edited)
        assert ledger.has_passed(edited)
        assert not ledger.has_passed(SYSTEM)

    def test_of_a_boot_script_every_version_of_this_boot_counts_once(self, ledger: Ledger, settings: Settings) -> None:
        edited = BOOT._replace(content_sha256="b" * 64)
        pass_(ledger, BOOT, edited, BOOT)
        assert ledger.has_passed(edited)
        assert ledger.has_passed(BOOT)
        lines = Path(settings.state_dir, "state.json").read_text(encoding="utf-8").splitlines()
        assert len(lines) == 1 + 3
        assert make_state(lines)["boot"] == {"boot_id": "boot-1", "passed": {"boot": [BOOT.sha256, edited.sha256]}}

    def test_the_sentinel_says_which_run_ended_the_first_boot(self, ledger: Ledger, settings: Settings) -> None:
        ledger.write_sentinel("vm", "run")
        text = Path(settings.sentinel).read_text(encoding="utf-8")
        assert json.loads(text) == {"vm_id": "vm", "boot_id": "boot-1", "run_id": "run"}
        assert text.endswith("}\n")

    def test_a_sentinel_that_may_not_last_is_taken_back(
        self, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def write_but_fail(path: str, data: bytes, mode: int = 0o600) -> None:
            Path(path).write_bytes(data)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        monkeypatch.setattr(durable, "write_file", write_but_fail)
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            ledger.write_sentinel("vm", "run")
        assert not ledger.system_provisioned

    @pytest.mark.parametrize(
        "damage",
        [
            "",
            "[]",
            "{",
            '{"system": []}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {}, "last": {}}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {"boot_id": "boot-1"}, "last": {}}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {"passed": {}}, "last": {}}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {"boot_id": "boot-1", "passed": {"boot": 1}}, "last": {}}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {"boot_id": "boot-1", "passed": {}}, "last": {"boot": 1}}',
            '{"boot_tried": "boot-1", "boot": {"boot_id": "boot-1", "passed": {}}, "last": {}}',
            '{"boot_tried": "boot-1", "system": {}, "boot": {"boot_id": "boot-1", "passed": {}}}',
            '{"boot_tried": "boot-1", "system": {}, "last": {}}',
            "[" * 100_000,
            "\xff",
        ],
    )
    def test_a_damaged_one_counts_as_absent(self, settings: Settings, damage: str) -> None:
        Path(settings.state_dir, "state.json").write_bytes(damage.encode("latin-1"))
        ledger = Ledger(settings, "boot-1")
        assert not ledger.boot_tried
        end_first_boot(ledger, SYSTEM, BOOT)
        assert Ledger(settings, "boot-1").has_passed(BOOT)

    @pytest.mark.parametrize("key", OUTCOME)
    @pytest.mark.parametrize("value", [[], {}])
    def test_an_outcome_that_status_could_not_tell_is_damage(
        self, ledger: Ledger, settings: Settings, key: str, value: object
    ) -> None:
        write_state(settings, {**written(ledger, settings), "last": {"system": {**outcome(SYSTEM), key: value}}})
        assert Ledger(settings, "boot-1").last("system") is None

    @pytest.mark.parametrize("key", OUTCOME)
    def test_so_is_one_that_lacks_something(self, ledger: Ledger, settings: Settings, key: str) -> None:
        state = written(ledger, settings)
        del state["last"]["system"][key]
        write_state(settings, state)
        assert Ledger(settings, "boot-1").last("system") is None

    def test_a_ledger_of_an_agent_that_noted_less_is_still_one(self, ledger: Ledger, settings: Settings) -> None:
        state = written(ledger, settings)
        del state["boot_tried"]
        write_state(settings, state)
        known = Ledger(settings, "boot-1")
        assert known.has_passed(SYSTEM)
        assert not known.boot_tried

    def test_a_change_is_a_line_until_there_are_many(
        self, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pass_(ledger, SYSTEM)
        whole = Path(settings.state_dir, "state.json").read_bytes()
        pass_(ledger, BOOT)
        more = Path(settings.state_dir, "state.json").read_bytes()
        assert more.startswith(whole)
        assert more.count(b"\n") == 3
        known = Ledger(settings, "boot-1")
        monkeypatch.setattr(durable, "append", lambda *_: pytest.fail("there is no room for it"))
        known._room = 0
        pass_(known, script("other"))
        assert Path(settings.state_dir, "state.json").read_bytes().count(b"\n") == 1
        assert all(Ledger(settings, "boot-1").has_passed(one) for one in (SYSTEM, BOOT, script("other")))

    def test_the_file_stays_small_however_often_scripts_run(self, ledger: Ledger, settings: Settings) -> None:
        for _ in range(1000):
            ledger.note_end(BOOT, outcome(BOOT), passed=True)
        file = Path(settings.state_dir, "state.json")
        assert file.stat().st_size < 2 * APPENDED_MAX
        again = Ledger(settings, "boot-1")
        assert again._room == ledger._room
        assert again.last("boot") == outcome(BOOT)

    @pytest.mark.parametrize(
        "torn",
        [
            b'{"script": "other", "run_on": "sys',
            b"\0" * 20,
            b"[]\n",
            b'{"boot_tried": 5}\n',
            b'{"script": "x"}\n',
            encode_line({"script": "x", "run_on": "system", "passed": True, "outcome": {"sha256": "0"}}),
            encode_line({"run_on": "system", "passed": True, "outcome": outcome(SYSTEM)}),
            encode_line({"script": "x", "outcome": outcome(SYSTEM)}),
            b"\xff\n",
            b"[" * 100_000 + b"\n",
        ],
    )
    def test_what_a_crash_has_torn_counts_as_absent_and_is_not_added_to(
        self, ledger: Ledger, settings: Settings, torn: bytes
    ) -> None:
        pass_(ledger, SYSTEM, BOOT)
        with open(Path(settings.state_dir, "state.json"), "ab") as file:
            file.write(torn)
        known = Ledger(settings, "boot-1")
        assert known.has_passed(SYSTEM)
        assert known.has_passed(BOOT)
        pass_(known, script("other"))
        later = Ledger(settings, "boot-1")
        assert all(later.has_passed(one) for one in (SYSTEM, BOOT, script("other")))

    def test_a_change_that_cannot_be_appended_makes_a_new_file(
        self, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def tear(path: str, data: bytes) -> None:
            with open(path, "ab") as file:
                file.write(data[: len(data) // 2])
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        pass_(ledger, SYSTEM)
        monkeypatch.setattr(durable, "append", tear)
        pass_(ledger, BOOT)
        assert Path(settings.state_dir, "state.json").read_bytes().count(b"\n") == 1
        assert all(Ledger(settings, "boot-1").has_passed(one) for one in (SYSTEM, BOOT))

    def test_what_a_full_disk_did_not_take_is_written_with_the_next_change(
        self, ledger: Ledger, settings: Settings, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_path: str, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        pass_(ledger, SYSTEM)
        with monkeypatch.context() as full:
            full.setattr(durable, "append", refuse)
            full.setattr(durable, "write_file", refuse)
            with pytest.raises(OSError, match="No space left"):
                ledger.note_end(BOOT, outcome(BOOT), passed=True)
        pass_(ledger, script("other"))
        assert all(Ledger(settings, "boot-1").has_passed(one) for one in (SYSTEM, BOOT, script("other")))


def make_state(lines: list[str]) -> State:
    """The state that a file's lines stand for."""
    state: State
    state, *entries = map(json.loads, lines)
    for entry in entries:
        apply(state, entry)
    return state


def written(ledger: Ledger, settings: Settings) -> State:
    """What is in the file once both scripts have passed."""
    pass_(ledger, SYSTEM, BOOT)
    return make_state(Path(settings.state_dir, "state.json").read_text(encoding="utf-8").splitlines())


def write_state(settings: Settings, state: object) -> None:
    """As an agent has it that appends nothing."""
    Path(settings.state_dir, "state.json").write_text(json.dumps(state), encoding="utf-8")
