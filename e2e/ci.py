"""python -m e2e.ci: the steps of action.yml and of the workflows that are more than one command, on any machine.

Outputs go to $GITHUB_OUTPUT, as GitHub Actions wants them, else to stdout.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import secrets
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from e2e import artifacts

RUM = Path(sys.executable).with_name("rum")
CONSOLE_SHOWN = 6000
"""Characters of a console's end."""

Json = dict[str, Any]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit status is that of the `rum` that failed."""
    options = parser().parse_args(argv)
    try:
        return COMMANDS[options.command](options)
    except subprocess.CalledProcessError as error:
        return error.returncode


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m e2e.ci", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    commands.add_parser("offer", help="put `rum` on the PATH of later steps; output: rum")
    image = commands.add_parser("image", help="what a cache of the base image is found by; outputs: directory, prefix")
    pull = commands.add_parser("pull", help="download the base image unless it is there; output: key, by its checksum")
    for command in (image, pull):
        command.add_argument("base", help="a rum.toml, or an image that rum knows by name")
    up = commands.add_parser("up", help="rum up; output: status, as `rum -o json status` prints it")
    evidence = commands.add_parser("evidence", help="after a failure: show the console, keep it and the run records")
    for command in (up, evidence):
        command.add_argument("config", help="the rum.toml")
    evidence.add_argument("directory", type=Path, help="where they are kept")
    return made


def offer(_options: argparse.Namespace) -> int:
    """A directory with nothing but rum in it: the environment's own would hide the python of the project."""
    directory = RUM.parent.parent / "command"
    directory.mkdir(exist_ok=True)
    (directory / "rum").unlink(missing_ok=True)
    (directory / "rum").symlink_to(RUM)
    append("GITHUB_PATH", str(directory))
    return output(rum=str(directory / "rum"))


def image(options: argparse.Namespace) -> int:
    """Where images are cached, and how the keys of this one begin. A file of the project's own needs no cache."""
    table, known = image_table(options.base), answer("image", "list")
    name = table["base"]
    if name not in (entry["name"] for entry in known["catalogue"]) and not is_url(name):
        return output(directory="", prefix="")
    return output(directory=known["directory"], prefix=prefix(known, name))


def pull(options: argparse.Namespace) -> int:
    """Have the image that is published now, and nothing else: what was cached may be older."""
    table = image_table(options.base)
    sums = [f"--{name}={table[name]}" for name in ("sha256", "sha512") if name in table]
    subprocess.run([RUM, "image", "pull", *sums, table["base"]], check=True)
    known = answer("image", "list")
    found = [entry for entry in known["images"] if table["base"] in (entry["name"], entry["url"]) and entry["whole"]]
    # From a mirror on this host the file is used where it is.
    newest = max(found, key=lambda entry: Path(entry["path"]).stat().st_mtime_ns, default=None)
    for entry in found:
        if entry is not newest:
            subprocess.run([RUM, "image", "remove", entry["path"]], check=True)
    # A file of the cache is named URL-CHECKSUM.
    key = f"{prefix(known, table['base'])}{Path(newest['path']).stem.rpartition('-')[2]}" if newest else ""
    return output(key=key)


def up(options: argparse.Namespace) -> int:
    """Bring the VM up, with all that it says in the job's log."""
    subprocess.run([RUM, "-c", located(options.config), "up"], check=True)
    return output(status=json.dumps(answer("-c", str(located(options.config)), "status")))


def evidence(options: argparse.Namespace) -> int:
    """Show and keep what tells why the VM did not come up."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state")
    kept = artifacts.keep(state, options.directory)
    for path in kept:
        if path.name == "console.log":
            grouped(f"console of {path.parent.name}", path.read_text(errors="replace")[-CONSOLE_SHOWN:])
    doctor = subprocess.run([RUM, "doctor"], stdout=subprocess.PIPE, text=True, check=False)
    grouped("rum doctor", doctor.stdout)
    return output(kept=str(len(kept)))


COMMANDS = {"offer": offer, "image": image, "pull": pull, "up": up, "evidence": evidence}


def located(config: str) -> Path:
    """The rum.toml: a path is meant from the project's directory, not from where the action lies."""
    return Path(os.environ.get("GITHUB_WORKSPACE", "."), config).absolute()


def image_table(base: str) -> Json:
    """`[image]` of a rum.toml that rum has found right, or of one that has only this base."""
    if not base.endswith(".toml"):
        return {"base": base}
    subprocess.run([RUM, "-c", located(base), "config", "check"], check=True, stdout=sys.stderr)
    table: Json = tomllib.loads(located(base).read_text(encoding="utf-8"))["image"]
    return table


def answer(*arguments: str) -> Json:
    """The JSON object that a command answers with."""
    done = subprocess.run([RUM, "-o", "json", *arguments], stdout=subprocess.PIPE, check=True)
    found: Json = json.loads(done.stdout.splitlines()[0])
    return found


def is_url(base: str) -> bool:
    """Whether `image.base` is a URL."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", base) is not None


def prefix(known: Json, base: str) -> str:
    """How the keys of all versions of an image begin."""
    return f"rum-image-{known['architecture']}-{hashlib.sha256(base.encode()).hexdigest()[:16]}-"


def grouped(title: str, text: str) -> None:
    """A part of the log that is folded away. Nothing in the text is a command to the runner."""
    token = secrets.token_hex(16)
    sys.stdout.write(f"::group::{title}\n::stop-commands::{token}\n{text}\n::{token}::\n::endgroup::\n")


def output(**values: str) -> int:
    """Set outputs of the step."""
    for name, value in values.items():
        append("GITHUB_OUTPUT", f"{name}={value}")
    return 0


def append(variable: str, line: str) -> None:
    """Add a line to the file that a variable of GitHub Actions names."""
    if path := os.environ.get(variable):
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{line}\n")
    else:
        sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
