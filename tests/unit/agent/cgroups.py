"""Real cgroups for tests, where this user may make them: root can, and whoever was delegated some (cgroups(7))."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


def mounted(kind: str, option: str = "") -> list[Path]:
    """Where file systems of this kind are mounted whose options include that one."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    split = [line.split(" - ") for line in lines]
    return [
        Path(left.split()[4])
        for left, right in split
        if right.split()[0] == kind and (not option or option in right.split()[2].split(","))
    ]


def find_base() -> Path | None:
    """The unified hierarchy's directory for this process's own cgroups, None where it may have none."""
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines() if line[:3] == "0::"]
    for mount, path in ((mount, path) for mount in mounted("cgroup2") for path in own):
        base = mount / path.lstrip("/")
        probe = base / f"rum-probe-{os.getpid()}"
        with contextlib.suppress(OSError):
            probe.mkdir()
            probe.rmdir()
            return base
    return None


BASE = find_base()


def children_of(cgroup: Path) -> list[Path]:
    """The cgroups directly below it."""
    return sorted(path for path in cgroup.iterdir() if path.is_dir())


def scripts_in(cgroup: Path) -> str:
    """What an agent's process begins with so that each script gets a cgroup of its own below this one."""
    return f"\nfrom rum.agent import containment\ncontainment.own_cgroup = lambda settings: {str(cgroup)!r}"


@contextlib.contextmanager
def new_cgroup() -> Iterator[Path]:
    """A new cgroup, removed afterwards with those below it; only where there is a BASE."""
    assert BASE is not None
    path = BASE / f"rum-test-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir()
    try:
        yield path
    finally:
        # Who has started something in a cgroup comes back to the one above, where an agent lives.
        (BASE / "cgroup.procs").write_text("0", encoding="ascii")
        for directory, _, _ in os.walk(path, topdown=False):
            os.rmdir(directory)


def find_memory_base() -> Path | None:
    """Where this user may make a cgroup whose memory is limited, of either version; None where it may not."""
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    second = [mount / line[3:].lstrip("/") for mount in mounted("cgroup2") for line in own if line[:3] == "0::"]
    for base in [*second, *mounted("cgroup", "memory")]:
        probe = base / f"rum-probe-{os.getpid()}"
        with contextlib.suppress(OSError):
            probe.mkdir()
            limits = [name for name in MEMORY_LIMITS if (probe / name).exists()]
            probe.rmdir()
            if limits:
                return base
    return None


MEMORY_LIMITS = ["memory.max", "memory.limit_in_bytes"]
MEMORY_BASE = find_memory_base()


@contextlib.contextmanager
def memory_cgroup(limit: int) -> Iterator[Path]:
    """A new cgroup that has so many bytes of memory; only where there is a MEMORY_BASE."""
    assert MEMORY_BASE is not None
    path = MEMORY_BASE / f"rum-test-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir()
    try:
        for name in (*MEMORY_LIMITS, "memory.swap.max"):
            if (path / name).exists():
                (path / name).write_text(str(0 if "swap" in name else limit), encoding="ascii")
        yield path
    finally:
        path.rmdir()
