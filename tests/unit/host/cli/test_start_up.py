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


BARE = "import sys; print('modules', *sys.modules, file=sys.stderr)"
PROGRAM = f"""
import sys
from rum.host.__main__ import main
status = main(sys.argv[1:])
{BARE}
sys.exit(status)
"""
"""`rum`, which tells in the end what it has loaded."""


def loaded(stderr: str) -> set[str]:
    """The modules that PROGRAM names."""
    return set(stderr.splitlines()[-1].removeprefix("modules ").split())


def traced(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of `rum`, with what it has loaded as the last line on standard error."""
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def heavy(modules: set[str]) -> set[str]:
    """Those that not every command should pay for."""
    return {name for name in modules if name in HEAVY or name.split(".")[0] in HEAVY}


def test_version_is_little_more_than_the_interpreter() -> None:
    done = traced("version")
    assert (done.returncode, done.stdout[:4]) == (0, "rum ")
    bare = subprocess.run([sys.executable, "-c", BARE], stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    more = loaded(done.stderr) - loaded(bare.stderr) - set(sys.builtin_module_names)
    assert more == {"rum", "rum.host", "rum.host.__main__"}


@pytest.mark.parametrize("arguments", [["--help"], ["up", "--help"], ["exec", "--help"]])
def test_help_loads_what_parses_and_nothing_that_acts(arguments: list[str]) -> None:
    done = traced(*arguments)
    assert (done.returncode, done.stdout[:6]) == (0, "Usage:")
    modules = loaded(done.stderr)
    assert f"rum.host.cli.{'exec' if arguments[0] == 'exec' else 'vm'}" in modules
    assert heavy(modules) | (modules & {"rum.host.up", "rum.host.exec", "rum.host.channel.client"}) == set()


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
            done = traced("-c", str(config), *arguments)
        finally:
            proxy.close()
    assert (done.returncode, done.stdout[: len(said)]) == (0, said), done.stderr[-2000:]
    modules = loaded(done.stderr)
    assert f"rum.host.{own}" in modules
    assert heavy(modules) == set()
