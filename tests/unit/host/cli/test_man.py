"""docs/man/rum.1: made from the commands themselves; it renders without a complaint.

`python -m tests.unit.host.cli.test_man` writes it anew.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator

import click

from rum.host.cli.help import Command
from rum.host.cli.options import is_global
from rum.host.cli.root import SECTIONS
from tests.unit.host.cli.test_help import ALL, CHECKOUT, FOR_PEOPLE

PAGE = CHECKOUT / "docs/man/rum.1"
DATE = "November 26, 2026"

HEAD = f"""\
.\\" Made by tests/unit/host/cli/test_man.py from the commands; do not edit.
.Dd {DATE}
.Dt RUM 1
.Os
.Sh NAME
.Nm rum
.Nd boot a stock cloud image from rum.toml and provision it through its agent
.Sh SYNOPSIS
.Nm
.Op Ar options
.Ar command
.Op Ar arguments ...
.Sh DESCRIPTION
.Nm
boots a stock cloud image under QEMU and libvirt as
.Pa rum.toml
describes it, and provisions it through a small agent in the guest, over virtio-vsock: no SSH, no IP address, no network
card and no root is needed.
.Pp
.Nm
.Cm up
returns when the VM is provisioned, or says which script failed and how, and ends with 1.
The VM stays up: fix the script and run it again.
System scripts run on the first boot, boot scripts on every boot.
"""

EXIT_STATUS = {
    "0": "done",
    "1": "a provisioning script failed, or the VM is not healthy",
    "2": "the command line or rum.toml is wrong",
    "3": "this host cannot do it: QEMU, libvirt, an image, a transport or a port is missing",
    "4": "the guest or its agent was not reached, was lost, or timed out",
    "130": "interrupted; the VM is kept",
}
EXEC_STATUS = "ends as its command did: with 128+n for signal n, 124 out of time, 125 where rum itself failed."

FILES = {
    "rum.toml": "What the VM is to be: here, or in a directory above.",
    "$XDG_STATE_HOME/rum/vms/NAME-ID/": (
        "A VM: its disks, keys, console log and copies of its runs. Default: ~/.local/state/rum."
    ),
    "$XDG_CACHE_HOME/rum/images/": "Images that were downloaded. Default: ~/.cache/rum/images.",
    "$XDG_RUNTIME_DIR/rum/": "Sockets. Default: a directory of this user in /tmp.",
}

ENVIRONMENT = {
    "LIBVIRT_DEFAULT_URI": "The libvirt to use where rum.toml names none.",
    "RUM_IMAGE_MIRROR": "A directory or URL to take the images from that have a name.",
    "RUM_DEBUG": "1: show a traceback where rum itself is at fault.",
}


def escaped(text: str) -> str:
    """Text as roff(7) takes it."""
    return re.sub(r"^([.'])", r"\\&\1", text.replace("\\", "\\e").replace("-", "\\-"), flags=re.MULTILINE)


def prose(text: str) -> str:
    """Paragraphs, a sentence to a line, as mdoc(7) wants them."""
    paragraphs = [" ".join(part.split()) for part in text.split("\n\n")]
    return "\n.Pp\n".join(re.sub(r"(?<=[.]) (?=[A-Z])", "\n", escaped(part)) for part in paragraphs if part)


def tagged(rows: dict[str, str], macro: str) -> Iterator[str]:
    """A list of words and what they mean."""
    yield ".Bl -tag -width Ds"
    for word, meaning in rows.items():
        yield f".It {macro} {escaped(word)}\n{prose(meaning)}"
    yield ".El"


def option_rows(context: click.Context, *, everywhere: bool) -> dict[str, str]:
    """A command's options with their help: those of every command, or its own."""
    options = [
        parameter
        for parameter in context.command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        if everywhere is (is_global(parameter) or context.parent is None)
    ]
    return dict(record for option in options if (record := option.get_help_record(context)))


def section(context: click.Context) -> Iterator[str]:
    """A command: how it is typed, what it does, its options."""
    command = context.command
    usage = " ".join(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")
    options = option_rows(context, everywhere=False)
    shown = " ".join(part for part in (context.command_path, "[options]" if options else "", usage) if part)
    yield f".Ss {escaped(shown)}"
    yield prose(command.help or "")
    if options:
        yield from tagged(options, "Li")


def in_order() -> Iterator[str]:
    """The paths of all commands, as the overview has them; a group's own after it."""
    for name in (name for rows in SECTIONS.values() for row in rows for name in row):
        yield from (path for path in FOR_PEOPLE if path == f"rum {name}" or path.startswith(f"rum {name} "))


def page() -> str:
    """The manual page."""
    parts = [HEAD.rstrip(), ".Pp", "These options may stand before or after the command:"]
    parts += tagged(option_rows(ALL["rum"], everywhere=True), "Li")
    parts.append(".Sh COMMANDS")
    for path in in_order():
        parts += section(FOR_PEOPLE[path])
    parts += [".Sh ENVIRONMENT", *tagged(ENVIRONMENT, "Ev")]
    parts += [".Sh FILES", *tagged(FILES, "Pa")]
    parts += [".Sh EXIT STATUS", *tagged(EXIT_STATUS, "Li"), ".Pp", ".Nm\n.Cm exec", EXEC_STATUS]
    parts += [".Sh EXAMPLES", ".Bd -literal", *(escaped(example) for example in examples()), ".Ed"]
    parts += [".Sh SEE ALSO", ".Xr ssh 1 ,", ".Xr virsh 1"]
    return "\n".join(parts) + "\n"


def examples() -> Iterator[str]:
    """Those of the commands that have no commands of their own, once each."""
    commands = [FOR_PEOPLE[path].command for path in in_order()]
    leaves = [command for command in commands if isinstance(command, Command) and not isinstance(command, click.Group)]
    yield from dict.fromkeys(example for command in leaves for example in command.examples)


def rendered() -> str:
    mandoc = shutil.which("mandoc")
    assert mandoc, "there is no mandoc: apt-get install mandoc"
    shown = subprocess.run(
        [mandoc, "-Tutf8", "-O", "width=100", str(PAGE)], capture_output=True, text=True, timeout=60, check=True
    )
    return re.sub(r".\x08", "", shown.stdout)


def test_it_is_current() -> None:
    current = PAGE.read_text(encoding="utf-8") == page()
    assert current, "write it anew: python -m tests.unit.host.cli.test_man"


def test_it_renders_without_a_complaint() -> None:
    rendered()
    lint = subprocess.run(
        ["mandoc", "-Tlint", "-W", "warning", str(PAGE)], capture_output=True, text=True, timeout=60, check=False
    )
    assert lint.stdout == ""


def test_every_command_and_option_is_in_it() -> None:
    text = rendered()
    for path, context in FOR_PEOPLE.items():
        assert re.search(rf"(^|\s){re.escape(path)}\b", text), path
        for option in context.command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.opts[-1] in text, f"{path} {option.opts[-1]}"
    assert [path for path in ALL.keys() - FOR_PEOPLE.keys() if path in text and path != "rum help"] == []


def test_the_exit_statuses_are_the_readme_s() -> None:
    readme = (CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", readme, re.MULTILINE)) == EXIT_STATUS


def test_it_is_shipped() -> None:
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["tool"]["setuptools"]["data-files"] == {"share/man/man1": ["docs/man/rum.1"]}


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
