"""A rum.toml for a test, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.config.load import load_config
from rum.host.errors import ConfigError

MINIMAL = '[image]\nbase = "debian-12"\n'


def write(directory: Path, text: str, name: str = "rum.toml") -> Path:
    path = directory / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(directory: Path, text: str) -> list[str]:
    """The problems of a file, each without the file's name and the line."""
    path = write(directory, text)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return [problem.split(": ", 1)[1] for problem in caught.value.problems]
