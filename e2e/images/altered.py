"""A copy of a built image with other files in it: seconds instead of a build, for images that lack one thing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from e2e.images import disk, host
from e2e.images.bootloader import SECTOR
from e2e.images.errors import ImageError

_INODE = {"mode": "0100644", "uid": "0", "gid": "0"}


def copy(image: Path, target: Path, files: Mapping[str, str]) -> None:
    """Make `target`, a raw image, of a built one with these files, by guest path: root's, mode 0644.

    ImageError: a tool failed.
    """
    _run("qemu-img", "convert", "-O", "raw", str(image), str(target))
    root = f"{target}?offset={disk.ROOT_START * SECTOR}"
    given = target.with_suffix(".given")
    for name, content in files.items():
        given.write_text(content)
        _run("debugfs", "-w", "-f", "-", root, stdin="\n".join(_commands(root, name, given)))
        if _run("debugfs", "-R", f'cat "{name}"', root) != content:
            raise ImageError(f"debugfs has not written {name} into {target}.")
    given.unlink(missing_ok=True)


def _commands(root: str, name: str, given: Path) -> Iterator[str]:
    """What debugfs(8) is told. A mkdir of what is there already would leave a lost directory behind."""
    parents = [str(parent) for parent in PurePosixPath(name).parents][-2::-1]
    yield from (f'mkdir "{parent}"' for parent in parents if not _exists(root, parent))
    if _exists(root, name):
        yield f'rm "{name}"'
    yield f'write "{given}" "{name}"'
    yield from (f'set_inode_field "{name}" {field} {value}' for field, value in _INODE.items())


def _exists(root: str, name: str) -> bool:
    return _run("debugfs", "-R", f'stat "{name}"', root).startswith("Inode:")


def _run(*argv: str, stdin: str = "") -> str:
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False, env=host.environment())
    if done.returncode != 0:
        raise ImageError(f"{argv[0]} failed (status {done.returncode}): {done.stderr.strip()}")
    return done.stdout
