"""What a shell offers after TAB beyond commands and options; rum.host.cli.offers finds it, once it is wanted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rum.host.errors import RumError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

UNREADABLE = (RumError, OSError, ValueError, TypeError, KeyError, AttributeError)
"""What a file can be wrong by, rum.toml first of all: an error has no place on a half-typed line."""

Offer = Callable[[click.Context, click.Parameter, str], list[str]]


def offering(name: str) -> Offer:
    """A completion for click: what a function of rum.host.cli.offers finds."""

    def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
        from rum.host.cli import offers

        given = context.find_root().obj.config
        with contextlib.suppress(*UNREADABLE):
            found: list[str] = getattr(offers, name)(Path(given) if given else None)
            return [word for word in found if word.startswith(incomplete)]
        return []

    return complete


def files(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Files of this host, by the shell itself; the guest's are behind a colon, and nobody is asked for those."""
    from click.shell_completion import CompletionItem

    return [] if incomplete.startswith(":") else [CompletionItem(incomplete, type="file")]


def conditions(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """What `rum wait --for` knows by name."""
    return [word for word in ("agent", "provisioned", "healthy") if word.startswith(incomplete)]


SCRIPTS = offering("script_names")
RUNS = offering("run_ids")
KNOWN_IMAGES = offering("known_images")
DOWNLOADED_IMAGES = offering("downloaded_images")
