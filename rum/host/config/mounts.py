"""Rules about `[[mounts]]` and about every target in the guest, and what the mounts come to."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from rum.host.config.document import File
from rum.host.config.draft import Draft
from rum.host.config.model import Mount
from rum.host.config.place import Place
from rum.host.config.types import TAG_MAX
from rum.host.files import named_for_libvirt

KEPT = ("/var/lib/rum", "/var/lib/cloud", "/etc/rum", "/etc/systemd", "/proc", "/sys", "/dev", "/run", "/var/run")
"""What the kernel, systemd, cloud-init and the agent keep for themselves, with all that is below."""
NEEDED = ("/etc", "/usr", "/usr/local/bin/rum-agent", "/bin", "/sbin", "/lib", "/lib64", "/boot", *KEPT)
"""What must stay in sight."""

HASH_DIGITS = 8


def check_mounts(draft: Draft, directory: Path) -> dict[Place, Path]:
    """Every rule about mounts and targets; the sources that were found, by the place of their table."""
    sources: dict[Place, Path] = {}
    for place, source in draft.find("mounts.*.source", str):
        try:
            sources[place[:-1]] = resolve_source(source, directory)
        except ValueError as exc:
            draft.note_value(place, source, str(exc))
    check_targets(draft, sources)
    check_tags(draft)
    return sources


def check_tags(draft: Draft) -> None:
    """Every mount has a tag of its own, which may come from its target."""
    tags = list(draft.find("mounts.*.tag", str))
    derived = {target: place[:-1] for place, target in draft.find("mounts.*.target", str)}
    tags += [(table, default_tag(target)) for target, table in derived.items() if not draft.has(table, "tag")]
    draft.refuse_repeated(tags, "mount", "tag")


def resolve_source(source: str, directory: Path) -> Path:
    """The directory that a `source` names. Raises ValueError with the end of a sentence."""
    if source == "git":
        return repository_of(directory)
    path = named_for_libvirt(source, directory)
    try:
        if path.is_dir():
            return path
        raise ValueError(f"{path} is not a directory" if path.exists() else f"there is no directory {path}")
    except OSError as exc:
        raise ValueError(f"cannot be looked at: {exc.strerror}") from None


def repository_of(directory: Path) -> Path:
    """The root of the work tree that a directory is in; `.git` is a file in a linked one. Raises ValueError."""
    for candidate in (directory, *directory.parents):
        if os.path.exists(candidate / ".git"):
            return candidate
    raise ValueError(f'{directory} is in no git repository; write "./git" for a directory of that name')


def targets_of(draft: Draft) -> Iterator[tuple[Place, PurePosixPath]]:
    """Every target in the guest."""
    for pattern in ("fs.*.*.target", "mounts.*.target"):
        for place, target in draft.find(pattern, str):
            yield place, PurePosixPath(target)


def check_targets(draft: Draft, sources: Mapping[Place, Path]) -> None:
    """Nothing is mounted where the guest would not start any more, or where something else covers it."""
    targets = list(targets_of(draft))
    draft.refuse_repeated(targets, "file system or mount", "target")
    for place, target in targets:
        if reason := why_not(target):
            draft.note_value(place, str(target), reason)
    mounts = [(place[:-1], target) for place, target in targets if place[0] == "mounts"]
    for place, target in targets:
        for table, upper in mounts:
            if upper in target.parents:
                check_below_mount(draft, place, target, table, sources)


def why_not(target: PurePosixPath) -> str:
    """Why nothing can be mounted there, empty if it can."""
    around = {str(target), *map(str, target.parents)}
    if kept := around.intersection(KEPT):
        return f"{max(kept, key=len)} belongs to the guest's system, nothing can be mounted there"
    hidden = [path for path in NEEDED if target in (PurePosixPath(path), *PurePosixPath(path).parents)]
    return f"would hide {hidden[0]}, which the guest needs" if hidden else ""


def check_below_mount(
    draft: Draft, place: Place, target: PurePosixPath, table: Place, sources: Mapping[Place, Path]
) -> None:
    """What is mounted below a mount is there after it, and needs a directory to be mounted on."""
    upper = PurePosixPath(str(draft.get(table, "target", str)))
    if place[0] == "fs":
        draft.note_value(place, str(target), f"is below the mount {upper}, which would cover it: drives come first")
        return
    source = sources.get(table)
    point = source / target.relative_to(upper) if source else None
    if point is not None and draft.get(table, "readonly", bool) and not point.is_dir():
        draft.note_value(place, str(target), f"needs the directory {point}: the mount {upper} above it is read-only")


def default_tag(target: str) -> str:
    """A tag for a target, always the same one; two targets have two.

    >>> default_tag("/srv/data"), default_tag("/my code")
    ('srv-data', 'my-code-9cfae4c8')
    """
    plain = target.strip("/").replace("/", "-")
    if re.fullmatch(r"/[A-Za-z0-9_][A-Za-z0-9_./]*", target) and len(plain) <= TAG_MAX:
        return plain
    safe = re.sub(r"[^A-Za-z0-9_]+", "-", plain, flags=re.ASCII).strip("-") or "mount"
    digest = hashlib.sha256(target.encode("utf-8")).hexdigest()[:HASH_DIGITS]
    return f"{safe[: TAG_MAX - HASH_DIGITS - 1]}-{digest}"


def build_mounts(document: File, sources: Mapping[Place, Path]) -> tuple[Mount, ...]:
    """The mounts by target: a path comes before the paths below it."""
    found = [
        Mount(sources["mounts", index], entry.target, entry.tag or default_tag(entry.target), entry.readonly)
        for index, entry in enumerate(document.mounts)
    ]
    return tuple(sorted(found, key=lambda mount: mount.target.split("/")))
