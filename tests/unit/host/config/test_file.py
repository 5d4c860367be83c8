"""How rum.toml is found and read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rum.host.config.identity import find_config
from rum.host.config.load import load_config
from rum.host.errors import ConfigError
from tests.unit.host.config.config_text import MINIMAL, problems, write


@pytest.mark.parametrize("special", ["fifo", "device", "directory"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, special: str) -> None:
    path = tmp_path / "special"
    if special == "fifo":
        os.mkfifo(path)
    elif special == "device":
        path = Path("/dev/zero")
    else:
        path.mkdir()
    said = "cannot be read: Is a directory" if special == "directory" else "is not a regular file"
    with pytest.raises(ConfigError, match=f"^{path} {said}$"):
        load_config(path)
    [problem] = problems(tmp_path, f'{MINIMAL}[provision.boot]\nfile = "{path}"')
    assert problem.endswith(f": {said}")


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, "\ufeff" + MINIMAL)).image.base == "debian-12"


def test_a_symbolic_link_to_itself_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "rum.toml").symlink_to("rum.toml")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        load_config(tmp_path / "rum.toml")


def test_a_directory_that_is_gone_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="the current directory does not exist any more"):
        find_config()


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no file"):
        load_config(tmp_path / "rum.toml")


def test_the_file_is_found_in_a_parent(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_config(below) == path


def test_without_a_file_the_user_is_told_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        find_config(tmp_path)
    assert "`rum init`" in (caught.value.hint or "")


def test_a_directory_of_that_name_is_passed_over(tmp_path: Path) -> None:
    path = write(tmp_path, MINIMAL)
    (tmp_path / "a" / "rum.toml").mkdir(parents=True)
    assert find_config(tmp_path / "a") == path
