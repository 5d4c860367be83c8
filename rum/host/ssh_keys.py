"""The SSH key of a VM."""

from __future__ import annotations

import subprocess

from rum.host.errors import HostError
from rum.host.files import publish
from rum.host.paths import VmPaths
from rum.host.remedies import missing


def require_ssh_key(paths: VmPaths, comment: str) -> str:
    """The VM's public key; the pair is made where it is missing. Raises HostError."""
    if not (paths.ssh_key.exists() and paths.ssh_public_key.exists()):
        _generate(paths, comment)
    return paths.ssh_public_key.read_text(encoding="utf-8").strip()


def _generate(paths: VmPaths, comment: str) -> None:
    temporary = paths.ssh_key.with_name(".ssh_ed25519.tmp")
    public = temporary.with_name(f"{temporary.name}.pub")
    for path in (temporary, public):
        path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(temporary)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        raise missing("ssh-keygen", "ssh") from None
    except subprocess.TimeoutExpired as exc:
        raise HostError("ssh-keygen has not ended within 60 s") from exc
    if done.returncode != 0:
        raise HostError(f"ssh-keygen cannot make a key in {paths.state}: {done.stderr.strip()}")
    publish(public, paths.ssh_public_key)
    publish(temporary, paths.ssh_key)
