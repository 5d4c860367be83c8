"""Where the packages come from: the mirror this host's own apt uses, and what it takes to reach it."""

import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@dataclass(frozen=True)
class Mirror:
    """Base URIs of an archive; `security` is None where that mirror has no security archive."""

    main: str = "http://deb.debian.org/debian"
    security: str | None = "http://deb.debian.org/debian-security"


@dataclass(frozen=True)
class AptSettings:
    """What this host's apt is told about its way to the archive."""

    proxy: str = ""
    check_valid_until: bool = True


def source_lines(mirror: Mirror, suite: str, pockets: Iterable[str]) -> list[str]:
    """Lines of a sources.list for the suite and its pockets ("updates", "security")."""
    lines = [f"deb {mirror.main} {suite} main"]
    if "updates" in pockets:
        lines.append(f"deb {mirror.main} {suite}-updates main")
    if "security" in pockets and mirror.security is not None:
        lines.append(f"deb {mirror.security} {suite}-security main")
    return lines


def host_mirror() -> Mirror:
    """The first Debian archives in this host's sources; the default ones where there are none."""
    # With no package lists to read the answer is the same and takes no time.
    with tempfile.TemporaryDirectory() as lists:
        state = f"Dir::State::lists={lists}"
        targets = _output("apt-get", "-o", state, "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages")
    return mirror_of(targets.split())


def mirror_of(uris: Iterable[str]) -> Mirror:
    """Pick the Debian archives out of apt's repository URIs, by the names that every mirror keeps."""
    first: dict[str, str] = {}
    for uri in uris:
        stripped = uri.rstrip("/")
        first.setdefault(stripped.rpartition("/")[2], stripped)
    if "debian" not in first:
        return Mirror()
    return Mirror(main=first["debian"], security=first.get("debian-security"))


def host_settings() -> AptSettings:
    """The proxy and the Valid-Until policy of this host's apt."""
    shell = _output("apt-config", "shell", "PROXY", "Acquire::http::Proxy", "VALID", "Acquire::Check-Valid-Until/b")
    values = dict(assignment.split("=", 1) for assignment in shlex.split(shell))
    return AptSettings(values.get("PROXY", ""), values.get("VALID", "true") == "true")


def _output(*argv: str) -> str:
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
