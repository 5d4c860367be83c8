"""Rules about `[provision.*]`, and what the scripts come to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from rum.host.config.disks import check_either
from rum.host.config.document import File, Script
from rum.host.config.draft import Draft
from rum.host.config.file import read_regular
from rum.host.config.model import Healthcheck
from rum.host.config.place import Place
from rum.host.files import named_path
from rum.protocol import After, ProvisionScript, RunOn
from rum.protocol.limits import MESSAGE_MAX, SCRIPTS_MAX, STRING_MAX

RESERVED = {"drives": "the drives script", "system": "[provision.system]", "boot": "[provision.boot]"}
SYSTEM_ORDER = 100
BOOT_ORDER = 200
ROOM = 1 << 16
"""What a request holds besides the scripts, generously; in bytes."""


def check_scripts(draft: Draft, directory: Path) -> dict[Place, str]:
    """Every rule about scripts; the text of each, by the place of its table."""
    for place, name in draft.find("provision.script.*.name", str):
        if name in RESERVED:
            draft.note_value(place, name, f"this is the name of {RESERVED[name]}")
    draft.refuse_repeated(draft.find("provision.script.*.name", str), "script", "name")
    contents = {}
    for pattern in ("provision.system", "provision.boot", "provision.script.*"):
        for table, _ in draft.find(pattern, dict):
            check_either(draft, table, "script", "file")
            contents[table] = read_content(draft, table, directory)
    check_total(draft, contents)
    return contents


def read_content(draft: Draft, table: Place, directory: Path) -> str:
    """The text of `script`, or of the file that `file` names."""
    file = draft.get(table, "file", str)
    if file is None or draft.has(table, "script"):
        return draft.get(table, "script", str) or ""
    place = (*table, "file")
    try:
        return read_regular(named_path(file, directory), STRING_MAX).decode("utf-8")
    except OSError as exc:
        draft.note_value(place, file, f"cannot be read: {exc.strerror}")
    except UnicodeDecodeError:
        draft.note_value(place, file, "must be a text file in UTF-8")
    except ValueError as exc:
        draft.note_value(place, file, str(exc))
    return ""


def check_total(draft: Draft, contents: Mapping[Place, str]) -> None:
    """All scripts travel in one message, which has a limit."""
    generated = any(draft.find("fs.*.*", dict))
    if len(contents) + generated > SCRIPTS_MAX:
        count = f"{len(contents)} scripts{' and the one for the drives' if generated else ''}"
        draft.note(("provision",), f"has {count}, at most {SCRIPTS_MAX} are allowed")
    sizes = {table: len(json.dumps(content)) for table, content in contents.items()}
    for table, size in sizes.items():
        if size > STRING_MAX:
            draft.note(table, f"the script is over {STRING_MAX >> 20} MiB, the most that one may have")
    env = sum(len(json.dumps(draft.get(table, "env", dict) or {}, default=str)) for table in contents)
    if (size := sum(sizes.values()) + env) > MESSAGE_MAX - ROOM:
        draft.note(("provision",), f"the scripts are {size >> 20} MiB together, which is over {MESSAGE_MAX >> 20} MiB")


def build_scripts(document: File, contents: Mapping[Place, str]) -> list[ProvisionScript]:
    """Every script that rum.toml holds or names."""
    provision = document.provision
    scripts = []
    if provision.system is not None:
        content = contents["provision", "system"]
        scripts.append(build_script(provision.system, content, "system", SYSTEM_ORDER, RunOn.SYSTEM))
    if provision.boot is not None:
        content = contents["provision", "boot"]
        scripts.append(build_script(provision.boot, content, "boot", BOOT_ORDER, RunOn.BOOT))
    for index, entry in enumerate(provision.script):
        content = contents["provision", "script", index]
        scripts.append(build_script(entry, content, entry.name, entry.order, RunOn(entry.run_on)))
    return scripts


def build_healthcheck(document: File) -> Healthcheck | None:
    """`[provision.healthcheck]`."""
    table = document.provision.healthcheck
    return None if table is None else Healthcheck(**table.model_dump())


def build_script(entry: Script, content: str, name: str, order: int, run_on: RunOn) -> ProvisionScript:
    """One script."""
    return ProvisionScript(
        name=name,
        content=content,
        order=order,
        run_on=run_on,
        timeout_s=entry.timeout_s,
        env=entry.env,
        after=After(entry.after) if entry.after else None,
    )
