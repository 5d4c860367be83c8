"""What a disk holds after a crash, computed from the steps that an agent's durable module has made.

A file's data survives a power cut once the file was synced, its name once the directory was. What was not synced may
survive or not, so a crash has several images; the agent has to get on with each of them.
"""

from __future__ import annotations

import copy
import enum
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Step = dict[str, Any]


class Crash(enum.Enum):
    """How the agent ended, and what of the steps that were not synced the disk has."""

    POWER_ALL_LOST = "power cut, nothing unsynced survives"
    POWER_NAMES_KEPT = "power cut, names survive and unsynced data does not"
    POWER_TORN = "power cut, names and half of the unsynced data survive"
    KILLED = "agent killed, the disk's cache survives"

    @property
    def same_boot(self) -> bool:
        return self is Crash.KILLED


@dataclass
class File:
    """`data` is what a reader sees now, `synced` what is safe."""

    data: bytes = b""
    synced: bytes = b""
    told: int = 0
    """So many bytes of it have been given to a client."""

    def after(self, crash: Crash) -> bytes:
        """Its content after the crash."""
        if crash is Crash.KILLED:
            return self.data
        if crash is not Crash.POWER_TORN:
            return self.synced
        kept = len(self.synced) if self.data.startswith(self.synced) else 0
        return self.data[: kept + (len(self.data) - kept) // 2]


@dataclass
class Directory:
    """Names now, and the names that are safe."""

    names: dict[str, Node] = field(default_factory=dict)
    synced: dict[str, Node] = field(default_factory=dict)

    def after(self, crash: Crash) -> dict[str, Node]:
        """Its names after the crash."""
        return self.synced if crash is Crash.POWER_ALL_LOST else self.names


Node = File | Directory
Image = dict[str, bytes]
"""Path below the root to content; a directory's path ends in a slash."""


class Disk:
    """Everything below the root of an agent, which begins with an empty var/lib."""

    def __init__(self, root: Path) -> None:
        self._root = root
        library, var, self._top = Directory(), Directory(), Directory()
        var.names, self._top.names = {"lib": library}, {"var": var}
        var.synced, self._top.synced = dict(var.names), dict(self._top.names)
        self._open: dict[int, Node] = {}

    def copy(self) -> Disk:
        """Another one in the same state."""
        return copy.deepcopy(self)

    def moved_to(self, root: Path) -> None:
        """From now on steps have paths below this root."""
        self._root = root

    def apply(self, step: Step) -> None:
        """Do what the step did; what a script or a test wrote into the journal changes nothing."""
        match step:
            case {"step": "agent"}:
                self._open.clear()
            case {"step": "open", "path": path, "fd": fd}:
                self._open[fd] = self._opened(path, created=step["created"], emptied=step["emptied"])
            case {"step": "write", "fd": fd, "data": data} if fd in self._open:
                self._file(fd).data += bytes.fromhex(data)
            case {"step": "ftruncate", "fd": fd, "size": size}:
                self._file(fd).data = self._file(fd).data[:size]
            case {"step": "fsync", "fd": fd}:
                sync(self._open[fd])
            case {"step": "told", "fd": fd, "size": size}:
                self._file(fd).told = max(self._file(fd).told, size)
            case {"step": "replace", "source": source, "target": target}:
                names, name = self._place(source)
                moved = names.pop(name)
                names, name = self._place(target)
                names[name] = moved
            case {"step": "mkdir", "path": path}:
                names, name = self._place(path)
                names[name] = Directory()
            case {"step": "unlink" | "rmdir", "path": path}:
                names, name = self._place(path)
                del names[name]

    def image(self, crash: Crash) -> Image:
        """The disk after the crash."""
        found: Image = {}
        collect(self._top, "", lambda node: node.after(crash), found)
        return found

    def told(self) -> Image:
        """What clients have been given of each record that is there."""
        found: Image = {}
        collect(self._top, "", lambda node: node.data[: node.told] if isinstance(node, File) else node.names, found)
        return {path: data for path, data in found.items() if path.endswith("/record") and data}

    def _opened(self, path: str, *, created: bool, emptied: bool) -> Node:
        names, name = self._place(path)
        if created:
            names[name] = File()
        node = names[name]
        if emptied and isinstance(node, File):
            node.data = b""
        return node

    def _file(self, fd: int) -> File:
        node = self._open[fd]
        assert isinstance(node, File)
        return node

    def _place(self, path: str) -> tuple[dict[str, Node], str]:
        """The names in which the path is, and its name there."""
        *above, name = Path(os.path.relpath(path, self._root)).parts
        node: Node = self._top
        for part in above:
            assert isinstance(node, Directory), path
            node = node.names[part]
        assert isinstance(node, Directory), path
        return node.names, name


def sync(node: Node) -> None:
    """Make it safe as it is now."""
    if isinstance(node, File):
        node.synced = node.data
    else:
        node.synced = dict(node.names)


def collect(directory: Directory, prefix: str, read: Callable[[Node], bytes | dict[str, Node]], found: Image) -> None:
    """Everything below the directory, as `read` sees it."""
    names = read(directory)
    assert isinstance(names, dict)
    for name, node in names.items():
        if isinstance(node, Directory):
            found[f"{prefix}{name}/"] = b""
            collect(node, f"{prefix}{name}/", read, found)
        else:
            data = read(node)
            assert isinstance(data, bytes)
            found[prefix + name] = data


def write_image(image: Image, root: Path) -> None:
    """Make a root directory of it."""
    for path, data in image.items():
        if path.endswith("/"):
            (root / path).mkdir(mode=0o700, parents=True, exist_ok=True)
        else:
            (root / path).write_bytes(data)
            (root / path).chmod(0o700)
