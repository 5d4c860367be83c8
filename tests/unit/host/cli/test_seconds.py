"""What `--timeout` takes."""

from __future__ import annotations

import click
import pytest

from rum.host.cli.main import as_ours
from rum.host.cli.options import Options
from rum.host.cli.root import cli

REST = {"exec": ["--", "true"], "wait": []}
"""What each command that has the option needs besides."""


def parsed(name: str, timeout: str) -> click.Context:
    parent = click.Context(cli, info_name="rum", obj=Options())
    command = cli.get_command(parent, name)
    assert command
    return command.make_context(name, ["--timeout", timeout, *REST[name]], parent=parent)


@pytest.mark.parametrize("name", REST)
@pytest.mark.parametrize("given", ["x", "", "5m", "0", "-1", "nan", "inf", "1e300"])
def test_what_is_no_time_is_a_usage_error(name: str, given: str) -> None:
    with pytest.raises(click.BadParameter) as raised:
        parsed(name, given)
    assert as_ours(raised.value.format_message()) == (
        f"invalid value for '--timeout': must be a positive number of seconds, at most ten years, not {given!r}"
    )


@pytest.mark.parametrize("name", REST)
def test_fractions_are_times(name: str) -> None:
    assert parsed(name, "0.25").params["timeout_s"] == 0.25
