"""`[provision.*]` of rum.toml."""

from __future__ import annotations

import json
from pathlib import Path

from rum.host.toml_fields import Problems, Table
from rum.protocol import After, ProvisionScript, RunOn
from rum.protocol.fields import ENV_NAME
from rum.protocol.limits import MESSAGE_MAX, SCRIPTS_MAX, STRING_MAX
from rum.protocol.scripts import NAME, ORDER_MAX

RESERVED = {"drives": "the drives script", "system": "[provision.system]", "boot": "[provision.boot]"}
SYSTEM_ORDER = 100
BOOT_ORDER = 200
ALLOWED_NAME = "a lower-case letter or digit, then lower-case letters, digits, '.', '_' and '-', at most 64 characters"
ROOM = 1 << 16
"""What a request holds besides the scripts, generously."""


def read_scripts(table: Table, directory: Path) -> list[ProvisionScript]:
    """Every script that rum.toml holds or names; paths are relative to `directory`."""
    scripts: list[ProvisionScript] = []
    for name, order, run_on in (("system", SYSTEM_ORDER, RunOn.SYSTEM), ("boot", BOOT_ORDER, RunOn.BOOT)):
        entry = table.table(name)
        if name in table:
            scripts.append(read_body(entry, directory, name, order, run_on))
    for entry in table.tables("script"):
        scripts.append(read_named(entry, directory, {script.name for script in scripts}))
    table.close()
    check_total(table.problems, scripts)
    return scripts


def read_named(entry: Table, directory: Path, before: set[str]) -> ProvisionScript:
    """One `[[provision.script]]`."""
    entry.require("name", "order", "run_on")
    name = entry.text("name", "", ALLOWED_NAME, NAME.fullmatch)
    if name in RESERVED:
        entry.problems.note_value(entry.path_of("name"), name, f"this is the name of {RESERVED[name]}")
    elif name in before:
        entry.problems.note_value(entry.path_of("name"), name, "another script has this name")
    order = entry.integer("order", 0, low=0, high=ORDER_MAX)
    run_on = entry.choice("run_on", RunOn.SYSTEM.value, [member.value for member in RunOn])
    return read_body(entry, directory, name, order, RunOn(run_on))


def read_body(table: Table, directory: Path, name: str, order: int, run_on: RunOn) -> ProvisionScript:
    """The keys that every script has."""
    after = table.choice("after", "", [member.value for member in After])
    script = ProvisionScript(
        name=name,
        content=read_content(table, directory),
        order=order,
        run_on=run_on,
        timeout_s=table.seconds("timeout_s"),
        env=read_env(table.table("env")),
        after=After(after) if after else None,
    )
    table.close()
    return script


def read_content(table: Table, directory: Path) -> str:
    """The text of `script`, or of the file that `file` names: exactly one of the two."""
    script = table.optional_text("script", "the script's text")
    file = table.optional_text("file", "a path", lambda path: path and "\0" not in path)
    if (script is None) == (file is None):
        table.problems.note(table.path, "needs either script or file" if script is None else "has both script and file")
        return ""
    if script is not None or not file:
        return script or ""
    try:
        return (directory / Path(file).expanduser()).read_bytes().decode("utf-8")
    except OSError as exc:
        table.problems.note_value(table.path_of("file"), file, f"cannot be read: {exc.strerror}")
    except UnicodeDecodeError:
        table.problems.note_value(table.path_of("file"), file, "must be a text file in UTF-8")
    except RuntimeError:
        table.problems.note_value(table.path_of("file"), file, "there is no such home directory")
    return ""


def read_env(table: Table) -> dict[str, str]:
    """Environment variables: names that a shell can refer to, values without NUL."""
    env = {}
    for key in table:
        if ENV_NAME.fullmatch(key):
            env[key] = table.text(key, "", "a string without NUL", lambda value: "\0" not in value)
        else:
            table.text(key, "", "a string")
            table.problems.note(table.path_of(key), "must be named by letters, digits and _, not a digit first")
    return env


def check_total(problems: Problems, scripts: list[ProvisionScript]) -> None:
    """All scripts travel in one message, which has a limit."""
    if len(scripts) > SCRIPTS_MAX:
        problems.note("provision", f"has {len(scripts)} scripts, at most {SCRIPTS_MAX} are allowed")
    sizes = {script.name: len(json.dumps(script.content)) for script in scripts}
    for name, size in sizes.items():
        if size > STRING_MAX:
            problems.note("provision", f"the script {name} is over {STRING_MAX >> 20} MiB, the most that one may have")
    size = sum(sizes.values()) + sum(len(json.dumps(dict(script.env))) for script in scripts)
    if size > MESSAGE_MAX - ROOM:
        problems.note("provision", f"the scripts are {size >> 20} MiB together, which is over {MESSAGE_MAX >> 20} MiB")
