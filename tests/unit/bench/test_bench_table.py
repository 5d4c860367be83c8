"""What becomes of samples: values, verdicts, the table between the markers, and the file that keeps them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from e2e.bench import table
from e2e.bench.__main__ import PAGE
from e2e.bench.context import Bench
from e2e.bench.experiment import (
    Experiment,
    Measured,
    NotMeasuredError,
    Row,
    Series,
    Target,
    at_most,
    excess_at_most,
    number,
    ratio_at_least,
    ratio_at_most,
    times_as_fast,
)
from e2e.bench.experiments import EXPERIMENTS
from e2e.bench.results import Attempt, Results


def series(*values: float, unit: str = "ms") -> Series:
    return Series.of("something", unit, values)


def unmeasured(_bench: Bench) -> Measured:
    raise AssertionError


def experiment(*rows: Row) -> Experiment:
    return Experiment("one", unmeasured, rows)


ROW = Row("a thing", "another", ratio_at_most(1.5), "rum", "floor", reason="the guest is slow")


def results(*, problem: str = "", accelerator: str = "tcg", **measured: Series) -> Results:
    return Results({"accelerator": accelerator}, attempts={"one": Attempt(1.5, measured, problem)})


class TestSeries:
    def test_median_and_quartiles(self) -> None:
        found = series(9, 1, 2, 3, 4)
        assert (found.median, found.spread) == (3, (2, 4))

    def test_of_a_few_the_extremes(self) -> None:
        assert series(3, 1, 2).spread == (1, 3)
        assert series(3).spread == (3, 3)

    def test_without_samples_is_no_measurement(self) -> None:
        with pytest.raises(NotMeasuredError, match="no sample of something"):
            series()


@pytest.mark.parametrize(
    ("target", "value", "met", "shown", "said"),
    [
        (ratio_at_most(1.5), 2.0, False, "at most 1.5 of it", "2 of it"),
        (ratio_at_least(0.7), 2.0, True, "at least 0.7 of it", "2 of it"),
        (times_as_fast(0.4), 0.5, True, "at least 0.4 times as fast", "0.5 times as fast"),
        (excess_at_most(9), 10.0, False, "at most 9 ms more", "10 ms more"),
        (excess_at_most(0), 10.0, False, "not after it", "10 ms more"),
        (at_most(20), 20.0, True, "at most 20 ms", "20 ms"),
    ],
)
def test_targets(target: Target, value: float, met: bool, shown: str, said: str) -> None:
    peer = None if target == at_most(20) else series(10)
    assert target.value(series(20), peer) == value
    assert target.is_met(value) == met
    assert target.shown("ms") == shown
    assert target.shown_value(value, "ms") == said


def test_numbers_have_three_digits() -> None:
    assert [number(value) for value in (0.03123, 1.5, 33.333, 1234.5, 2.0)] == ["0.0312", "1.5", "33.3", "1234", "2"]


class TestVerdict:
    def test_of_a_row_that_is_met(self) -> None:
        (verdict,) = results(rum=series(14), floor=series(10)).judge([experiment(ROW)])
        assert table.line(verdict) == "| a thing | another | at most 1.5 of it | 1.4 of it: 14 ms / 10 ms | met |"

    def test_of_one_that_is_missed_with_its_reason(self) -> None:
        (verdict,) = results(rum=series(20), floor=series(10)).judge([experiment(ROW)])
        assert table.line(verdict).endswith("| **missed** |")
        assert table.remark(verdict) == "- *a thing*, against another: missed: the guest is slow."

    def test_of_one_that_could_not_be_measured(self) -> None:
        (verdict,) = results(problem="no sshd").judge([experiment(ROW)])
        assert table.line(verdict) == "| a thing | another | at most 1.5 of it | no sshd | not measured |"
        assert table.remark(verdict) == "- *a thing*, against another: not measured: no sshd."

    def test_of_one_whose_series_the_experiment_has_forgotten(self) -> None:
        (verdict,) = results(rum=series(20)).judge([experiment(ROW)])
        assert verdict.problem == "there is no series floor"

    def test_of_one_that_was_left_out(self) -> None:
        (verdict,) = Results({}).judge([experiment(ROW)])
        assert verdict.problem == "this run left it out"

    def test_kvm_may_have_a_target_of_its_own(self) -> None:
        row = Row("boot", "", at_most(1), "rum", under_kvm=at_most(0.3))
        for accelerator, met in (("tcg", True), ("kvm", False)):
            (verdict,) = results(accelerator=accelerator, rum=series(0.5)).judge([experiment(row)])
            assert verdict.met == met


class TestFile:
    def test_what_is_written_is_read_back(self, tmp_path: Path) -> None:
        written = results(rum=series(1.25, 2, 3), floor=series(1))
        written.attempts["two"] = Attempt(3, problem="it hung")
        written.write(tmp_path / "bench.json", [experiment(ROW)])
        assert Results.read(tmp_path / "bench.json") == written
        kept = json.loads((tmp_path / "bench.json").read_text())
        assert kept["rows"] == [
            {
                "what": "a thing",
                "against": "another",
                "target": "at most 1.5 of it",
                "value": 2.0,
                "shown": "2 of it",
                "met": False,
            }
        ]
        assert kept["experiments"]["one"]["series"]["rum"]["values"] == [1.25, 2, 3]

    @pytest.mark.parametrize(
        "text", ["[]", "{}", '{"format": 0}', '{"format": 1}', '{"format": 1, "experiments": []}', "no json", "1"]
    )
    def test_other_files_are_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "bench.json").write_text(text)
        with pytest.raises(ValueError, match="has no results of this benchmark"):
            Results.read(tmp_path / "bench.json")


class TestPage:
    def test_has_the_markers(self) -> None:
        text = PAGE.read_text(encoding="utf-8")
        assert text.index(table.BEGIN) < text.index(table.END)

    def test_what_is_between_them_is_replaced_and_nothing_else(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n")
        for _ in range(2):
            table.fill(page, "new")
        assert page.read_text() == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"

    def test_without_the_markers_is_left_alone(self, tmp_path: Path) -> None:
        page = tmp_path / "page.md"
        page.write_text(f"{table.END}\n{table.BEGIN}\n")
        with pytest.raises(ValueError, match="has not both of the lines"):
            table.fill(page, "new")
        assert page.read_text() == f"{table.END}\n{table.BEGIN}\n"


class TestExperiments:
    def test_have_names_of_their_own_and_rows(self) -> None:
        assert len({one.name for one in EXPERIMENTS}) == len(EXPERIMENTS)
        assert all(one.rows for one in EXPERIMENTS)

    def test_what_needs_the_host_for_itself_comes_first(self) -> None:
        alone = [one.alone for one in EXPERIMENTS]
        assert alone == sorted(alone, reverse=True)

    def test_a_row_is_either_a_figure_or_has_a_peer(self) -> None:
        for row in (row for one in EXPERIMENTS for row in one.rows):
            assert (row.peer is None) == (row.target == at_most(row.target.limit)), row.what
            assert not row.reason.endswith("."), row.what
