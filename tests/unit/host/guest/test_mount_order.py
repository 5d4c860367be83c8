"""Lines of fstab, and mounts that lie on drives; the drives script's end is executed by sh."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from rum.host.config.model import Filesystem, Mount
from rum.host.guest.mount_order import drive_below, fstab_line, with_mounts
from rum.protocol import After, ProvisionScript, RunOn

DRIVES = ProvisionScript(name="drives", content="set -eu\n", order=0, run_on=RunOn.SYSTEM, after=After.LOCAL_FS)


def test_a_mount_with_a_nasty_name_is_one_field_each() -> None:
    line = fstab_line('tag "q" x', "/srv/it's $(a) #\\", readonly=True)
    options = "ro,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=180s"
    assert line == f'tag\\040"q"\\040x /srv/it\'s\\040$(a)\\040#\\134 virtiofs {options} 0 0'


def on(*targets: str) -> list[Filesystem]:
    return [Filesystem("ext4", ("data",), target) for target in targets]


@pytest.mark.parametrize(
    ("target", "expected"),
    [("/data/src", "/data"), ("/data/a/src", "/data/a"), ("/database", None), ("/data", None), ("/srv", None)],
)
def test_the_drive_below_a_mount(target: str, expected: str | None) -> None:
    assert drive_below(target, on("/data", "/data/a")) == expected


def test_without_a_mount_on_it_the_drives_script_is_as_it_was() -> None:
    assert with_mounts(DRIVES, on("/data"), [Mount(Path("/src"), "/srv", "srv")]) is DRIVES


def test_the_drives_script_ends_with_the_mounts_on_drives(tmp_path: Path) -> None:
    for name, body in {"mountpoint": f'[ "$2" = "{tmp_path}/there" ]', "mount": 'echo "mount $*"'}.items():
        stub = tmp_path / name
        stub.write_text(f"#!/bin/sh\n{body}\n")
        stub.chmod(0o755)
    targets = [f"{tmp_path}/it's $(a)", f"{tmp_path}/there"]
    script = with_mounts(DRIVES, on(str(tmp_path)), [Mount(Path("/src"), target, "tag") for target in targets])
    done = subprocess.run(
        ["sh", "-c", script.content],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (f"mount {targets[0]}\n", "")
    assert Path(targets[0]).is_dir()
