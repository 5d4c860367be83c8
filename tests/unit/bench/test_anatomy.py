"""Where the time of a boot goes, from what systemd says."""

from __future__ import annotations

import pytest

from e2e.bench import anatomy
from e2e.bench.anatomy import KERNEL, MOMENTS


def test_moments_are_told_apart_by_their_order() -> None:
    shown = "".join(f"{1_500_000 * number}\n" for number in range(len(MOMENTS)))
    found = anatomy.time_stamps(shown)
    assert list(found) == list(MOMENTS)[1:], "the first was never reached"
    assert list(found.values()) == [1.5 * number for number in range(1, len(MOMENTS))]


def test_a_unit_that_systemd_says_nothing_of_is_no_moment_of_another() -> None:
    with pytest.raises(ValueError, match="shorter"):
        anatomy.time_stamps("1\n2\n")


def test_the_table_is_in_the_order_of_rum_s_own_boot() -> None:
    early = [{"the agent listens": 20.0, KERNEL: 3.0}, {"the agent listens": 22.0, KERNEL: 4.0, "sshd is up": 30.0}]
    by_runcmd = [{KERNEL: 3.0, "the agent listens": 50.0}]
    measured = {**anatomy.series("early", early), **anatomy.series("by-runcmd", by_runcmd)}
    assert anatomy.table(measured).splitlines()[2:] == [
        "| the kernel begins | 3.5 s | 3 s |",
        "| the agent listens | 21 s | 50 s |",
    ]
