"""Experiments are made with a plain object for the VMs: what fails or hangs loses nothing but itself."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment, Measured, Row, Series, at_most
from e2e.bench.run import attempted, reason, run

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    # A run sets it for itself and all that it starts.
    monkeypatch.setenv("XDG_STATE_HOME", "")
    made = Bench("debian-12", 1, quick=True)
    yield made
    made.close()


def experiment(name: str, measure: Callable[[Bench], Measured], within_s: float = 60) -> Experiment:
    return Experiment(name, measure, (Row(name, "", at_most(1), "rum"),), within_s)


def fine(_bench: Bench) -> Measured:
    return {"rum": Series.of("rum", "ms", [1.0])}


def broken(_bench: Bench) -> Measured:
    raise OSError(28, "No space left on device")


def hangs(_bench: Bench) -> Measured:
    time.sleep(60)
    return {}


def hangs_in_a_child(_bench: Bench) -> Measured:
    subprocess.run(["sleep", "60"], check=True)
    return {}


def fails(_bench: Bench) -> Measured:
    subprocess.run(["sh", "-c", "echo 'no route | to host' >&2; exit 3"], capture_output=True, check=True)
    return {}


def test_a_failure_is_no_loss_for_the_others(bench: Bench, tmp_path: Path) -> None:
    experiments = [experiment("broken", broken), experiment("fine", fine)]
    results = run(bench, experiments, tmp_path / "bench.json", experiments)
    assert [(verdict.problem, verdict.shown) for verdict in results.judge(experiments)] == [
        ("[Errno 28] No space left on device", ""),
        ("", "1 ms"),
    ]
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert {"date", "accelerator", "transport", "QEMU", "host CPUs", "host Python"} <= kept["environment"].keys()
    assert [name for name, one in kept["experiments"].items() if "problem" in one] == ["broken"]


def test_results_are_kept_as_they_come(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "bench.json"

    def second(_bench: Bench) -> Measured:
        assert "series" in json.loads(file.read_text())["experiments"]["first"]
        raise KeyboardInterrupt

    experiments = [experiment("first", fine), experiment("second", second)]
    with pytest.raises(KeyboardInterrupt):
        run(bench, experiments, file, experiments)
    assert list(json.loads(file.read_text())["experiments"]) == ["first"]


@pytest.mark.parametrize("measure", [hangs, hangs_in_a_child])
def test_what_hangs_is_given_up(bench: Bench, measure: Callable[[Bench], Measured]) -> None:
    attempt = attempted(bench, experiment("hangs", measure, within_s=0.1))
    assert attempt.problem == "it was not done within 0 s"
    assert attempt.seconds < 30


def test_the_reason_has_what_the_command_said_and_fits_a_table(bench: Bench) -> None:
    problem = attempted(bench, experiment("fails", fails)).problem
    assert problem.endswith("returned non-zero exit status 3. no route / to host")
    assert len(reason(OSError("x" * 1000))) == 300
    assert reason(AssertionError()) == "AssertionError"


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "e2e.bench", *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )


def test_the_command_lists_the_experiments() -> None:
    done = command("--list")
    assert done.returncode == 0, done.stderr
    assert "Python API, round trip of `true` / a new ssh connection" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--only", "nothing"], 2, "argument --only: invalid choice: 'nothing'"),
        (["--fill", "nowhere.json"], 3, "bench: [Errno 2] No such file or directory: 'nowhere.json'"),
    ],
)
def test_a_mistake_on_its_command_line_is_said(arguments: list[str], status: int, said: str) -> None:
    done = command(*arguments)
    assert (done.returncode, said in done.stderr) == (status, True), done.stderr
    assert "Traceback" not in done.stderr
