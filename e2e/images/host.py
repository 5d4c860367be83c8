"""What a build needs of the machine it runs on: tools, an architecture, and a way to be root of a directory tree."""

import os
import platform
import shutil
import subprocess
from collections.abc import Mapping, Sequence

from e2e.images.archive import KEYRING
from e2e.images.errors import UnfitHostError

ARCHITECTURE = "amd64"
MACHINE = "x86_64"

# Administrators' tools are not on everybody's PATH, but everybody may run them.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"

_PACKAGE_OF_TOOL = {
    "mmdebstrap": "mmdebstrap",
    "sfdisk": "fdisk",
    "mke2fs": "e2fsprogs",
    "qemu-img": "qemu-utils",
    "unshare": "util-linux",
    "tar": "tar",
}
_PACKAGE_OF_TOOL_WITHOUT_ROOT = {"newuidmap": "uidmap"}

# Everything runs in namespaces of its own: when the first process in there dies, so does all that it started,
# and its mounts are gone. It dies with the thread that started it.
_SANDBOX = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
_AS_ROOT_OF_A_USER_NAMESPACE = ("--map-root-user", "--map-auto")


def check_tools() -> None:
    """UnfitHostError: something is not installed, or this is not the architecture the images are for."""
    if platform.machine() != MACHINE:
        raise UnfitHostError(f"These images can only be built on {MACHINE}, and this is {platform.machine()}.")
    tools = dict(_PACKAGE_OF_TOOL)
    if os.geteuid() != 0:
        tools |= _PACKAGE_OF_TOOL_WITHOUT_ROOT
    missing = missing_packages(tools)
    if missing:
        packages = " ".join(missing)
        raise UnfitHostError(f"Building an image needs tools that are not installed: apt-get install {packages}")


def missing_packages(package_of_tool: Mapping[str, str]) -> list[str]:
    """Names of the Debian packages whose tools are not on the PATH, sorted."""
    missing = {package for tool, package in package_of_tool.items() if shutil.which(tool, path=PATH) is None}
    if not os.path.exists(KEYRING):
        missing.add("debian-archive-keyring")
    return sorted(missing)


def root_prefix() -> Sequence[str]:
    """The command line prefix under which a program owns what it writes as root.

    UnfitHostError: this user can be no root at all.
    """
    if os.geteuid() == 0:
        return _SANDBOX if _works(_SANDBOX) else ()
    prefix = (*_SANDBOX, *_AS_ROOT_OF_A_USER_NAMESPACE)
    if not _works(prefix):
        raise UnfitHostError(
            f"User {os.geteuid()} cannot create a user namespace with a range of user IDs: give it a line in"
            " /etc/subuid and /etc/subgid (usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME)"
            " and allow unprivileged user namespaces (sysctl user.max_user_namespaces)."
        )
    return prefix


def _works(prefix: Sequence[str]) -> bool:
    probe = subprocess.run(
        [*prefix, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(), check=False
    )
    return probe.returncode == 0


def environment(**extra: str) -> dict[str, str]:
    """The environment of the tools: this one's, with a PATH that has them and in a language we can read."""
    return {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8", **extra}
