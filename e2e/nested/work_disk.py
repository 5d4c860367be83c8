"""The disk that the machine works on: the checkout, the tests' environment, the images that they boot, and the job."""

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from e2e.images import host
from e2e.nested import environment
from e2e.nested.errors import NestedError
from e2e.nested.recipe import USER_ID, WORK, WORK_LABEL

_SIZE = "24G"
"""Sparse; the disks of all VMs that a run makes are on it."""

# The machine's QEMU has the speed of nothing that rum's timeouts were made for: so much longer may the tests wait.
_PATIENCE = 8

_JOB = """\
#!/bin/sh
set -u
mkdir -p {work}/artifacts {work}/tmp
export TMPDIR={work}/tmp RUM_E2E_IMAGES={work}/images RUM_E2E_ARTIFACTS={work}/artifacts PYTHONUNBUFFERED=1
cd {work}/checkout
{pytest}
status=$?
# Tests may have had a libvirt elsewhere.
logs=$HOME/.cache/libvirt/qemu/log
[ ! -d "$logs" ] || cp -r "$logs" {work}/artifacts/qemu-logs
exit $status
"""


def make(disk: Path, checkout: Path, images: Iterable[Path], pytest: Sequence[str]) -> None:
    """Make the disk, as a file. NestedError: a tool failed. OSError: the files cannot be written here."""
    with tempfile.TemporaryDirectory(prefix="work-", dir=disk.parent) as name:
        tree = Path(name)
        copy_checkout(checkout, tree / "checkout")
        environment.make(tree / "env", tree / "checkout")
        _link_all(images, tree / "images")
        (tree / "job").write_text(job(pytest))
        (tree / "job").chmod(0o755)
        tree.chmod(0o755)
        make_filesystem(tree, disk)


def job(pytest: Sequence[str]) -> str:
    """The text of the program that the machine runs."""
    command = [f"{WORK}/env/bin/python", "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--require", "kvm,vhost-vsock", "--patience", str(_PATIENCE), f"--junitxml={WORK}/artifacts/junit.xml"]
    return _JOB.format(work=WORK, pytest=shlex.join([*command, *pytest]))


def copy_checkout(checkout: Path, target: Path) -> None:
    """What git knows of the checkout, as it is now. NestedError: it is none."""
    listed = subprocess.run(
        ["git", "-C", str(checkout), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode != 0:
        raise NestedError(f"{checkout} is no checkout of git, so there is nothing to copy: {listed.stderr.strip()}")
    for name in filter(None, listed.stdout.split("\0")):
        # One that was removed is listed until that is committed.
        if (checkout / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(checkout / name, target / name)


def _link_all(files: Iterable[Path], directory: Path) -> None:
    directory.mkdir()
    for file in files:
        try:
            os.link(file, directory / file.name)
        except OSError:
            shutil.copyfile(file, directory / file.name)


def make_filesystem(tree: Path, disk: Path) -> None:
    """An ext4 disk that holds the tree. NestedError: it cannot be made."""
    options = ["-q", "-F", "-t", "ext4", "-L", WORK_LABEL, "-m", "0", "-E", f"root_owner={USER_ID}:{USER_ID}"]
    command = ["mke2fs", *options, "-d", str(tree), str(disk), _SIZE]
    done = subprocess.run(command, capture_output=True, text=True, env=host.environment(), check=False)
    if done.returncode != 0:
        raise NestedError(f"The work disk {disk} cannot be made: {done.stderr.strip()}")
