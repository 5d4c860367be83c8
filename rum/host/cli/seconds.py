"""The type of `--timeout`."""

from __future__ import annotations

import click

from rum.protocol.limits import TIMEOUT_MAX_S


def seconds(text: str) -> float:
    """A positive number of seconds, as in rum.toml and in the protocol; `nan` is none. Raises BadParameter."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= TIMEOUT_MAX_S:
        raise click.BadParameter(f"must be a positive number of seconds, at most ten years, not {text!r}")
    return number
