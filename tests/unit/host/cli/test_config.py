"""`rum config` and `rum init`, as processes."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from e2e.json_lines import checked
from rum.host.config.init import TEMPLATE
from rum.host.config.load import load_config
from rum.host.config.schema import json_schema
from tests.unit.host.local_guest import CHECKOUT

COMPLETE = Path(__file__).parents[1] / "config/complete.toml"


def rum(directory: Path, *arguments: str, before: Callable[[], None] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rum.host", *arguments]
    settings: dict[str, Any] = {"cwd": directory, "env": {**os.environ, "PYTHONPATH": str(CHECKOUT)}}
    return subprocess.run(
        command, **settings, capture_output=True, text=True, timeout=60, check=False, preexec_fn=before
    )


def test_check_says_in_one_line_what_a_valid_file_makes(tmp_path: Path) -> None:
    path = tmp_path / "box.toml"
    path.write_bytes(COMPLETE.read_bytes())
    (tmp_path / "boot.sh").touch()
    done = rum(tmp_path, "config", "check", "-c", "box.toml")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (
        f"{path} is valid: VM box from https://example.org/image.qcow2, 4 CPUs, 4096 MiB of memory, a disk of 1 TiB, "
        "10 drives, 2 mounts, 2 ports, 3 scripts\n"
    )
    found = checked(rum(tmp_path, "-o", "json", "config", "check", "-c", "box.toml").stdout)
    assert (found["valid"], found["path"], found["name"]) == (True, str(path), "box")
    assert found["scripts"] == ["system", "migrate.2", "boot"]


def test_check_says_everything_that_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "rum.toml").write_text('[image]\nbase = "debian-12"\n[resources]\ncpus = "2"\nram = 1\n')
    done = rum(tmp_path, "config", "check")
    path = tmp_path / "rum.toml"
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"rum: {path} has 2 problems",
        f'  {path}, line 4: resources.cpus = "2": must be an integer from 1 to 255',
        f"  {path}, line 5: resources.ram: there is no such key; allowed are cpus, disk, memory_mb",
    ]
    [told] = [checked(line) for line in rum(tmp_path, "config", "check", "-o", "json").stdout.splitlines()]
    assert (told["command"], told["ok"], told["exit"], told["error"]["code"]) == ("config check", False, 2, "config")
    assert "line 4: resources.cpus" in told["error"]["message"]
    assert told["error"]["problems"] == [line.strip() for line in done.stderr.splitlines()[1:]]


def test_the_schema_is_printed_for_editors(tmp_path: Path) -> None:
    done = rum(tmp_path, "config", "schema")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json_schema()
    assert json.loads(rum(tmp_path, "config", "schema", "-o", "json").stdout) == json_schema()


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["config", "--help"], ["init"]])
def test_what_reads_no_configuration_does_not_load_its_library(tmp_path: Path, arguments: list[str]) -> None:
    program = "import sys; from rum.host.__main__ import main; main(sys.argv[1:]); sys.exit('pydantic' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = [sys.executable, "-c", program, *arguments]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, timeout=60)


def test_init_writes_a_valid_file_and_says_what_is_next(tmp_path: Path) -> None:
    done = rum(tmp_path, "init")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "wrote rum.toml; change in it what you like, then run `rum up`\n"
    assert rum(tmp_path, "config", "check").returncode == 0
    assert (tmp_path / "rum.toml").stat().st_mode & 0o111 == 0


def test_init_writes_where_it_is_told_to(tmp_path: Path) -> None:
    (tmp_path / "sub dir").mkdir()
    done = rum(tmp_path, "-c", "sub dir/dev.toml", "init")
    assert done.stdout.endswith("then run `rum -c 'sub dir/dev.toml' up`\n")
    assert load_config(tmp_path / "sub dir/dev.toml").name == "dev"


@pytest.mark.parametrize("made", ["file", "symlink", "directory"])
def test_init_overwrites_nothing(tmp_path: Path, made: str) -> None:
    path, elsewhere = tmp_path / "rum.toml", tmp_path / "elsewhere"
    if made == "file":
        path.write_text("mine")
    elif made == "symlink":
        path.symlink_to(elsewhere)
    else:
        path.mkdir()
    done = rum(tmp_path, "init")
    assert done.returncode == 2
    assert done.stderr.startswith("rum: rum.toml exists already, and was left as it is\n")
    assert not elsewhere.exists()
    assert made != "file" or path.read_text() == "mine"


def test_two_inits_at_once_write_one_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rum.host", "init"]
    settings: dict[str, Any] = {"cwd": tmp_path, "env": {**os.environ, "PYTHONPATH": str(CHECKOUT)}}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings) for _ in range(2)]
    for process in both:
        process.communicate(timeout=60)
    assert sorted(process.returncode for process in both) == [0, 2]
    assert (tmp_path / "rum.toml").read_text(encoding="utf-8") == TEMPLATE


def test_init_without_the_directory(tmp_path: Path) -> None:
    done = rum(tmp_path, "init", "-c", "none/rum.toml")
    assert done.returncode == 2
    assert "rum: there is no directory none\n" in done.stderr


def test_init_leaves_nothing_half_written(tmp_path: Path) -> None:
    def little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))

    done = rum(tmp_path, "init", before=little_room)
    assert done.returncode == 3
    assert "rum: rum.toml cannot be written: " in done.stderr
    assert list(tmp_path.iterdir()) == []


def switched_off(line: str) -> bool:
    return line.startswith("#") and not line.startswith("# ")


def paragraphs() -> list[str]:
    """The parts of the template, with all that is switched off in each switched on."""
    parts = TEMPLATE.split("\n\n")
    return ["\n".join(line[1:] if switched_off(line) else line for line in part.splitlines()) for part in parts]


def loads(directory: Path, text: str) -> None:
    (directory / "rum.toml").write_text(text, encoding="utf-8")
    (directory / "boot.sh").touch()
    load_config(directory / "rum.toml")


def test_the_template_is_valid_with_any_part_of_it_switched_on(tmp_path: Path) -> None:
    original = TEMPLATE.split("\n\n")
    for index, part in enumerate(paragraphs()):
        if "file =" not in part:
            loads(tmp_path, "\n\n".join([*original[:index], part, *original[index + 1 :]]))


def everything() -> str:
    """The template with all that is switched off switched on; a script is either here or in a file."""
    text = "\n\n".join(paragraphs())
    start = text.index("script", text.index("[provision.boot]"))
    return text[:start] + text[text.index("# Instead of `script`") :]


def test_the_template_is_valid_with_everything_switched_on(tmp_path: Path) -> None:
    loads(tmp_path, everything())


def keys_of(values: object) -> Iterator[str]:
    """Every key at any depth."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield key
            yield from keys_of(value)
    elif isinstance(values, list):
        for value in values:
            yield from keys_of(value)


def test_the_template_shows_every_key() -> None:
    known = set(json_schema()["properties"])
    for table in json_schema()["$defs"].values():
        known |= set(table["properties"])
    left_out = {"sha512", "xfs", "btrfs", "vfat"}
    assert known - set(keys_of(tomllib.loads(everything()))) == left_out


def test_the_template_names_the_defaults() -> None:
    """What is switched off and has a default shows it, so that switching it on changes nothing."""
    shown = tomllib.loads(everything())
    for table in ("resources", "network", "advanced"):
        schema = json_schema()["$defs"][table.capitalize()]["properties"]
        for key, value in shown[table].items():
            assert schema[key].get("default", value) == value or isinstance(value, list)


def test_what_the_template_holds_is_what_the_schema_knows() -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(tomllib.loads(everything()))
