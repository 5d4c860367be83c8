"""Seeds of the peers: rum's own without the early start, and one as people write them by hand."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

HEADER = "#cloud-config\n"

EARLY_START = ("bootcmd", "cloud_init_modules")
"""Of user-data; in meta-data it is `dsmode`."""


def read_seed(iso: Path) -> dict[str, str]:
    """The files of a seed by name. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as directory:
        run("xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", "/", directory)
        return {path.name: path.read_text(encoding="utf-8") for path in Path(directory).iterdir()}


def write_seed(iso: Path, files: Mapping[str, str]) -> None:
    """A seed with these files, made like everybody makes one. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files.items():
            Path(directory, name).write_text(text, encoding="utf-8")
        iso.unlink(missing_ok=True)
        run("xorriso", "-as", "mkisofs", "-V", "CIDATA", "-R", "-J", "-o", str(iso), directory)


def run(*command: str) -> None:
    """Run a program that says nothing worth reading unless it fails. Raises CalledProcessError."""
    subprocess.run(command, capture_output=True, check=True, timeout=120)


def started_by_runcmd(seed: Mapping[str, str]) -> dict[str, str]:
    """rum's seed with the agent started by `runcmd` alone. Raises KeyError where there is no early start in it."""
    meta_data, user_data = json.loads(seed["meta-data"]), json.loads(seed["user-data"].removeprefix(HEADER))
    del meta_data["dsmode"]
    for key in EARLY_START:
        del user_data[key]
    return {**seed, "meta-data": json.dumps(meta_data), "user-data": HEADER + json.dumps(user_data)}


def by_hand(user: str, public_key: str, script: str) -> dict[str, str]:
    """A seed of somebody who has no rum: an account to look in, and the script in `runcmd`."""
    user_data = {
        "users": [{"name": user, "shell": "/bin/bash", "ssh_authorized_keys": [public_key]}],
        "runcmd": [script],
    }
    return {
        "meta-data": json.dumps({"instance-id": "by-hand", "local-hostname": "by-hand"}),
        "user-data": HEADER + json.dumps(user_data),
    }
