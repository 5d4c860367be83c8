"""What a command loads: `rum exec` pays for nothing but the way to the agent. With a VM's real files, and no fake."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rum.host.config.identity import VmIdentity
from rum.host.paths import VmPaths
from rum.host.store import BaseImage, LastStart, VmState, save_state
from tests.unit.host.local_guest import CHECKOUT, VsockProxy, local_guest

HEAVY = {"libvirt", "rich", "pycdlib", "pydantic", "asyncio", "http.client", "rum.host.config.document"}


def loaded(trace: str) -> set[str]:
    """The modules in what `python -X importtime` prints."""
    return {line.rsplit("|", 1)[1].strip() for line in trace.splitlines() if line.startswith("import time:")}


@pytest.mark.parametrize(
    ("arguments", "own", "said"),
    [
        (["exec", "--", "echo", "said"], "exec", "said\n"),
        (["cp", ":FILE", "-"], "cp.story", "said\n"),
        (["status"], "status", "VM demo ("),
        (["list"], "vm_list", "NAME"),
        (["wait", "--for", "true"], "wait", ""),
    ],
)
def test_what_is_used_is_loaded_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], own: str, said: str
) -> None:
    (tmp_path / "file").write_text("said\n")
    arguments = [argument.replace("FILE", f"{tmp_path}/file") for argument in arguments]
    for name in ("STATE_HOME", "CACHE_HOME", "RUNTIME_DIR"):
        monkeypatch.setenv(f"XDG_{name}", str(tmp_path / name[0]))
    with local_guest(tmp_path) as guest:
        config = guest.config.identity.path
        paths = VmPaths.of(VmIdentity.of(config))
        paths.make_dirs()
        paths.key.write_text(guest.the_key.hex() + "\n")
        image = BaseImage("debian-12", "/image", "qcow2", 1, 1, 1)
        started = LastStart("tcg", "vhost-user", 70_000, 0)
        uri = "test:///default"
        state = VmState(guest.the_vm_id, "demo", paths.name[-8:], str(config), image, "hash", uri, started=started)
        save_state(paths.state_file, state)
        proxy = VsockProxy(paths.vsock_socket, guest.directory / "agent.sock")
        try:
            done = subprocess.run(
                [sys.executable, "-X", "importtime", "-m", "rum.host", "-c", str(config), *arguments],
                env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        finally:
            proxy.close()
    assert (done.returncode, done.stdout[: len(said)]) == (0, said), done.stderr[-2000:]
    modules = loaded(done.stderr)
    assert f"rum.host.{own}" in modules
    assert {name for name in modules if name in HEAVY or name.split(".")[0] in HEAVY} == set()
