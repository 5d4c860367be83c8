"""Every file in bad_config/ gets the message that stands beside it, to the letter.

A message is part of the product: read it aloud before you commit it.
`python -m tests.unit.host.config.test_bad_config` writes the messages anew; `git diff` then shows what a user will be
told that was not told before.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from rum.host.config.load import load_config
from rum.host.errors import ConfigError

FILES = sorted(Path(__file__).with_name("bad_config").glob("*.toml"))
SHOWN_AS = "/home/me/app"
"""Where the files are for their readers."""


def message(file: Path, directory: Path) -> str:
    """What is said about the file as the rum.toml of a small project."""
    (directory / "src").mkdir()
    (directory / "latin1.sh").write_bytes(b"echo \xe9\n")
    shutil.copy(file, directory / "rum.toml")
    with pytest.raises(ConfigError) as caught:
        load_config(directory / "rum.toml")
    lines = [str(caught.value), *(f"  {problem}" for problem in caught.value.problems)]
    lines += [caught.value.hint] if caught.value.hint else []
    return "".join(f"{line}\n" for line in lines).replace(str(directory.resolve()), SHOWN_AS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_message(file: Path, tmp_path: Path) -> None:
    assert message(file, tmp_path) == file.with_suffix(".txt").read_text(encoding="utf-8")


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 60
    assert {file.stem for file in FILES} == {file.stem for file in FILES[0].parent.glob("*.txt")}


if __name__ == "__main__":
    for bad in FILES:
        with tempfile.TemporaryDirectory() as scratch:
            bad.with_suffix(".txt").write_text(message(bad, Path(scratch)), encoding="utf-8")
