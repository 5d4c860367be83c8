"""The tests' Python environment, made here for a machine that reaches no package index: with our own versions."""

import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from e2e.nested.errors import NestedError
from e2e.nested.recipe import PYTHON, WORK

# Debian's python3-libvirt is in the machine, because this one has no wheels; rum itself is installed from the checkout;
# the rest is what makes environments, not what is in them.
_NOT_TAKEN = {"libvirt-python", "pip", "rum-vm", "setuptools", "wheel"}

_PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64", "any")

_CONFIG = f"""\
home = /usr/bin
include-system-site-packages = true
version = {PYTHON}
"""

_RUM = f"""\
#!{WORK}/env/bin/python
import sys

from rum.host.__main__ import main

sys.exit(main())
"""


def make(environment: Path, checkout: Path) -> None:
    """A virtual environment (PEP 405) for `WORK/env`: rum from the checkout, what it needs, and the tests' tools.

    NestedError: pip failed.
    """
    packages = environment / "lib" / f"python{PYTHON}" / "site-packages"
    packages.mkdir(parents=True)
    _install(packages, *_platform_options(), *pins((each.name, each.version) for each in distributions()))
    _install(packages, str(checkout))
    (environment / "pyvenv.cfg").write_text(_CONFIG)
    programs = environment / "bin"
    programs.mkdir()
    (programs / "python").symlink_to("/usr/bin/python3")
    (programs / "rum").write_text(_RUM)
    (programs / "rum").chmod(0o755)


def pins(installed: Iterable[tuple[str, str]]) -> list[str]:
    """Requirements for exactly these (name, version), as far as the machine needs them from here."""
    normalized = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in installed}
    return sorted(f"{name}=={version}" for name, version in normalized.items() if name not in _NOT_TAKEN)


def _platform_options() -> list[str]:
    options = [f"--platform={platform}" for platform in _PLATFORMS]
    return ["--only-binary=:all:", f"--python-version={PYTHON}", "--implementation=cp", *options]


def _install(target: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run([*command, f"--target={target}", *arguments], stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise NestedError(f"The tests' environment cannot be made: {_last_line(done.stderr)}")


def _last_line(said: str) -> str:
    errors = [line for line in said.splitlines() if line.startswith("ERROR:")] or said.splitlines() or ["pip failed"]
    return errors[-1].removeprefix("ERROR:").strip()
