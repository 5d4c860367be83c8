"""qemu-img: what an image is, and making the ones that rum owns."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from rum.host.errors import HostError
from rum.host.files import publish, room_hint
from rum.host.remedies import missing

TIMEOUT_S = 600.0
"""`qemu-img check` reads all tables of an image, which may lie on a slow disk."""


@dataclass(frozen=True)
class ImageInfo:
    """What qemu-img says of an image; sizes are in bytes."""

    format: str
    virtual_size: int
    backing_file: str | None
    data_file: str | None
    cluster_size: int


def run_qemu_img(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run qemu-img. Raises HostError where it is missing or does not end."""
    try:
        return subprocess.run(
            ["qemu-img", *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (FileNotFoundError, PermissionError):
        raise missing("qemu-img", "qemu-img") from None
    except subprocess.TimeoutExpired as exc:
        raise HostError(f"qemu-img {arguments[0]} has not ended within {TIMEOUT_S:.0f} s") from exc


def image_info(path: Path) -> ImageInfo:
    """What the image is. Raises HostError for what qemu-img cannot open."""
    done = run_qemu_img("info", "--output=json", "-U", str(path))
    if done.returncode != 0:
        raise HostError(f"{path} cannot be read as a disk image: {last_line(done.stderr)}", code="image")
    fields = json.loads(done.stdout)
    return ImageInfo(
        fields["format"],
        fields["virtual-size"],
        fields.get("backing-filename"),
        fields.get("format-specific", {}).get("data", {}).get("data-file"),
        fields.get("cluster-size", 0),
    )


def check_qcow2(path: Path, cluster_size: int) -> None:
    """Raise HostError unless the image is consistent and as long as its tables say."""
    done = run_qemu_img("check", "-f", "qcow2", "-U", str(path))
    # 3: leaked clusters, which waste space and lose nothing.
    if done.returncode not in (0, 3):
        reason = last_line(done.stderr) or last_line(done.stdout)
        raise HostError(f"{path} is damaged: {reason}", hint="get the image again", code="image")
    fields = json.loads(run_qemu_img("check", "-f", "qcow2", "-U", "--output=json", str(path)).stdout or "{}")
    end, size = fields.get("image-end-offset", 0), path.stat().st_size
    # Nothing pads the last cluster, so it may be shorter than the others.
    if size + cluster_size <= end:
        raise HostError(f"{path} is truncated: it has {size} of {end} bytes", hint="get the image again", code="image")


def create_qcow2(path: Path, size: int, *, backing: tuple[Path, str] | None = None) -> None:
    """Make a sparse qcow2 of `size` bytes, over a backing file and its format where given. Raises HostError."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    over = ["-b", str(backing[0]), "-F", backing[1]] if backing else []
    done = run_qemu_img("create", "-q", "-f", "qcow2", *over, str(temporary), str(size))
    if done.returncode != 0:
        temporary.unlink(missing_ok=True)
        raise HostError(f"{path} cannot be made: {last_line(done.stderr)}", hint=full_hint(path, done.stderr))
    temporary.chmod(0o600)
    publish(temporary, path)


def grow_qcow2(path: Path, size: int) -> bool:
    """Grow an image that no running VM uses to `size` bytes; it is never shrunk. Raises HostError.

    Returns whether the image is now exactly as large.
    """
    current = image_info(path).virtual_size
    if current < size:
        done = run_qemu_img("resize", "-q", "-f", "qcow2", str(path), str(size))
        if done.returncode != 0:
            raise HostError(f"{path} cannot be grown: {last_line(done.stderr)}", hint=full_hint(path, done.stderr))
        return True
    return current == size


def full_hint(path: Path, said: str) -> str | None:
    """What to do where qemu-img has said that the disk is full; it runs with the messages of the C locale."""
    full = any(os.strerror(number) in said for number in (errno.ENOSPC, errno.EDQUOT))
    return room_hint(errno.ENOSPC, path.parent) if full else None


def last_line(text: str) -> str:
    """The line in which a program says why it failed, without its own name."""
    lines = text.strip().splitlines()
    return lines[-1].removeprefix("qemu-img: ") if lines else ""
