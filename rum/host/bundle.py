"""The agent as one executable file: a zipapp that depends on nothing but the sources in it."""

from __future__ import annotations

import ast
import io
import zipfile
from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable

SHEBANG = b"#!/usr/bin/python3 -ISXutf8\n"
MAIN = b"""\
import os
import sys

from _frozen_importlib_external import MAGIC_NUMBER

# What rum/agent/compiled.py has kept of this file for this Python, if it has.
this = os.stat(sys.path[0])
identity = "%s-%d-%d" % (MAGIC_NUMBER[:2].hex(), this.st_size, this.st_mtime_ns)
sys.path.insert(0, "/var/lib/rum/compiled/%s.zip" % identity)

from rum.agent.lean import leave_out_openssl

leave_out_openssl()

from rum.agent.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
PACKAGES = ("agent", "protocol")

ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
UNIX = 3
REGULAR_0644 = 0o100644 << 16


def build_agent_zipapp() -> bytes:
    """The zipapp: the same sources make the same bytes, whatever their time stamps and permissions."""
    files = {"__main__.py": MAIN, **_sources()}
    archive = io.BytesIO()
    archive.write(SHEBANG)
    # Unpacking takes a twentieth of what compiling the modules does, and saves two thirds of the file.
    with zipfile.ZipFile(archive, "a") as zipped:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, ZIP_EPOCH)
            entry.create_system = UNIX
            entry.external_attr = REGULAR_0644
            zipped.writestr(entry, files[name], zipfile.ZIP_DEFLATED, compresslevel=9)
    return archive.getvalue()


def _sources() -> dict[str, bytes]:
    root = resources.files("rum")
    found = {"rum/__init__.py": (root / "__init__.py").read_bytes()}
    for package in PACKAGES:
        found.update(_modules(root / package, f"rum/{package}"))
    return {name: without_docstrings(source) for name, source in found.items()}


def without_docstrings(source: bytes) -> bytes:
    """The same program, its lines at their numbers: a quarter less to send, to parse and to hold in the guest."""
    lines = source.splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and node.end_lineno:
            height = node.end_lineno - node.lineno + 1
            # Where it is all there is, something has to stand there.
            lines[node.lineno - 1 : node.end_lineno] = [b'%s""\n' % (b" " * node.col_offset), *[b"\n"] * (height - 1)]
    return b"".join(lines)


def _modules(directory: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in directory.iterdir():
        name = f"{prefix}/{entry.name}"
        if entry.is_dir():
            yield from _modules(entry, name)
        elif entry.name.endswith(".py"):
            yield name, entry.read_bytes()
