"""`--help`: it fits a terminal of 24 lines and 80 columns, and its examples are command lines that rum takes."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from rum.host.cli.help import Command
from rum.host.cli.options import Options
from rum.host.cli.root import COMMANDS, SECTIONS, cli

LINES = 23
"""Below them stands the prompt."""
COLUMNS = 80

CHECKOUT = Path(__file__).resolve().parents[4]


def contexts(group: click.Context) -> Iterator[click.Context]:
    """A group and every command below it."""
    yield group
    if isinstance(group.command, click.Group):
        for name in group.command.list_commands(group):
            command = group.command.get_command(group, name)
            assert command is not None
            yield from contexts(click.Context(command, info_name=name, parent=group, terminal_width=COLUMNS))


ALL = {context.command_path: context for context in contexts(click.Context(cli, info_name="rum", obj=Options()))}
FOR_PEOPLE = {path: context for path, context in ALL.items() if not context.command.hidden}


def rum(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-m", "rum.host", *arguments]
    return subprocess.run(program, cwd=CHECKOUT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("path", FOR_PEOPLE)
def test_it_fits_a_screen(path: str) -> None:
    lines = FOR_PEOPLE[path].get_help().splitlines()
    assert len(lines) <= LINES
    assert [line for line in lines if len(line) > COLUMNS] == []


def commands_of(example: str) -> Iterator[list[str]]:
    """The arguments of every rum in a line for a shell."""
    words = list(shlex.shlex(example, punctuation_chars="|&;<>()", posix=True))
    while "rum" in words:
        words = words[words.index("rum") + 1 :]
        end = next((index for index, word in enumerate(words) if set(word) <= set("|&;<>()")), len(words))
        yield words[:end]
        words = words[end:]


def parse(arguments: list[str]) -> click.Context:
    """The context of the command that the arguments name. Raises UsageError for what it does not take."""
    context = cli.make_context("rum", arguments, obj=Options())
    while isinstance(context.command, click.Group):
        name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        context = command.make_context(name, rest, parent=context)
    return context


@pytest.mark.parametrize("path", [path for path in FOR_PEOPLE if path != "rum"])
def test_it_has_examples_of_that_command(path: str) -> None:
    command = ALL[path].command
    assert isinstance(command, Command)
    assert command.examples
    for example in command.examples:
        paths = [parse(arguments).command_path for arguments in commands_of(example)]
        assert any(found == path or found.startswith(f"{path} ") for found in paths), example
        assert example in FOR_PEOPLE[path].get_help()


@pytest.mark.parametrize("path", ALL)
def test_every_option_says_what_it_does(path: str) -> None:
    options = [parameter for parameter in ALL[path].command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_overview_has_every_command_in_one_section() -> None:
    shown = [name for rows in SECTIONS.values() for row in rows for name in row]
    assert len(shown) == len(set(shown))
    for_people = {path.removeprefix("rum ") for path in FOR_PEOPLE if path.count(" ") == 1}
    assert for_people <= set(shown)
    assert for_people <= set(re.findall(r"[a-z-]+", rum("--help").stdout))


def test_hidden_commands_are_not_in_the_overview() -> None:
    named = {name for line in rum("--help").stdout.splitlines() for name in re.split(", *", line[12:31].strip())}
    hidden = COMMANDS.keys() - {path.removeprefix("rum ") for path in FOR_PEOPLE}
    assert "proxy" in hidden
    assert "ssh-config" in named
    assert named & hidden == set()


def test_rum_alone_and_rum_help_show_it() -> None:
    alone, asked, long = rum(), rum("help"), rum("--help")
    assert (alone.returncode, alone.stderr) == (0, "")
    assert alone.stdout == asked.stdout == long.stdout
    assert rum("help", "image", "pull").stdout == rum("image", "pull", "--help").stdout
    assert rum("exec", "-h").stdout == rum("exec", "--help").stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["statsu"], "rum: there is no command 'statsu'; did you mean status?\n"),
        (["help", "porvision"], "rum: there is no command 'porvision'; did you mean provision?\n"),
        (["image", "pul"], "rum: there is no command 'pul'; did you mean pull?\n"),
        (["up", "--verbos"], "rum: no such option '--verbos'; did you mean '--verbose'?\n"),
        (["help", "up", "now"], "rum: rum up has no commands of its own\n"),
        (["-v"], "rum: missing command\n"),
        (["image"], "rum: missing command\n"),
    ],
)
def test_a_slip_is_answered_with_what_was_meant(arguments: list[str], said: str) -> None:
    done = rum(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(said)
    assert re.search(r"^rum: see `rum[a-z -]* --help`$", done.stderr, re.MULTILINE)
