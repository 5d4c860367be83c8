"""The agents of the unit tests; and what was measured is printed at the end, so that it can be quoted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.agent.conftest import agent, guest, shipped

__all__ = ["agent", "guest", "shipped"]

Figure = Callable[[str, object], None]


@pytest.fixture
def figure(record_property: Figure) -> Figure:
    """Call it with what was measured, the unit included, and the value."""
    return record_property


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    terminalreporter.section("measured")
    for report in terminalreporter.getreports("passed") + terminalreporter.getreports("failed"):
        for name, value in report.user_properties if report.when == "call" else []:
            terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}: {name}: {value}")
