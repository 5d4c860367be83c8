"""state.json and the VM's lock, with real files and a second process."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.errors import HostError
from rum.host.events import Event, Notice
from rum.host.guest.settings import GuestSettings, MountSetting
from rum.host.store import BaseImage, LastStart, VmLock, VmState, load_state, save_state

STATE = VmState(
    vm_id="0b8cbb2c-7a4c-4d8a-9f52-3f0f5a1f2f11",
    name="dev",
    id8="01234567",
    config_path="/srv/dev/rum.toml",
    image=BaseImage("debian-12", "/images/a.qcow2", "qcow2", 1, 2, 3),
    seed_hash="0123456789abcdef",
    libvirt_uri="qemu:///session",
    started=LastStart("tcg", "vhost-user", 70000, 0),
)

MOUNT = MountSetting("/srv/dev/src", "/srv/src", "srv-src", readonly=True)
TOLD = dataclasses.replace(
    STATE,
    started=LastStart("tcg", "vhost-user", 70000, 0, 2, 2048, "q35", "bios", 20 << 30, "user", (MOUNT,)),
    settings=GuestSettings("rum", ("docker",), ("ssh-ed25519 AAAA",), "dev", True, "user", ("lab dhcp",), (MOUNT,)),
)

HOLDER = """
import sys
from pathlib import Path
from rum.host.guest.settings import GuestSettings, MountSetting
from rum.host.store import VmLock
with VmLock(Path(sys.argv[1])).hold(print):
    print("held", flush=True)
    sys.stdin.read()
"""


OVERLAPPING = """
import os, sys
from pathlib import Path
from rum.host.store import load_state
path = Path(sys.argv[1])
def meanwhile(frame, event, _):
    if event == "call":
        child = os.fork()
        if not child:
            load_state(path)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
sys.setprofile(meanwhile)
load_state(path)
"""
"""Reads a state, and at each call that the first reading makes once more, as another thread may."""


@pytest.mark.parametrize("state", [STATE, TOLD, dataclasses.replace(STATE, started=None)])
def test_a_state_is_read_back(tmp_path: Path, state: VmState) -> None:
    path = tmp_path / "state.json"
    save_state(path, state)
    assert load_state(path) == state
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_states_may_be_read_at_the_same_time(tmp_path: Path) -> None:
    save_state(tmp_path / "state.json", TOLD)
    read = subprocess.run(
        [sys.executable, "-c", OVERLAPPING, str(tmp_path / "state.json")], capture_output=True, text=True, check=False
    )
    assert read.returncode == 0, read.stderr


def test_a_state_of_an_older_rum_lacks_what_it_did_not_note(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    save_state(path, TOLD)
    document = json.loads(path.read_text())
    del document["settings"], document["settled"]
    document["started"] = {
        key: document["started"][key] for key in ("accelerator", "transport", "cid", "console_offset")
    }
    path.write_text(json.dumps(document))
    assert load_state(path) == STATE


def test_no_file_is_no_vm(tmp_path: Path) -> None:
    assert load_state(tmp_path / "state.json") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"vm_id": 1}', b"\xff", b"null"])
def test_a_file_of_somebody_else_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(content)
    with pytest.raises(HostError) as caught:
        load_state(path)
    assert str(caught.value).startswith(f"{path} cannot be read as the state of a VM")


def test_the_holder_may_take_the_lock_again(tmp_path: Path) -> None:
    lock = VmLock(tmp_path / "locks" / "dev")
    events: list[Event] = []
    with lock.hold(events.append), lock.hold(events.append):
        assert (tmp_path / "locks" / "dev").read_text() == str(os.getpid())
    with lock.hold(events.append):
        pass
    assert events == []


def test_who_waits_is_told_for_whom_and_not_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "dev"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        events: list[Event] = []
        sentence = f"the rum process {holder.pid} still works on this VM"
        with pytest.raises(HostError, match=sentence), VmLock(path, timeout_s=0.3).hold(events.append):
            pass
        assert events == [Notice(f"waiting for the rum process {holder.pid}, which works on this VM")]
        assert holder.stdin is not None
        holder.stdin.close()
        with VmLock(path, timeout_s=30).hold(events.append):
            assert path.read_text() == str(os.getpid())


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "locks" / "dev"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ
    )
    with holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with VmLock(path, timeout_s=1).hold(lambda event: None):
        pass


@contextlib.contextmanager
def no_room() -> Iterator[None]:
    """Nothing more can be written to any file: EFBIG stands in for a disk that is full to its last byte."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_vm_can_be_locked_without_room_for_a_word(tmp_path: Path) -> None:
    entered = False
    with no_room(), VmLock(tmp_path / "locks" / "dev").hold(lambda event: None):
        entered = True
    assert entered, "else nobody could destroy it"


def test_a_state_that_cannot_be_written_is_named_and_stays_as_it_was(tmp_path: Path) -> None:
    save_state(tmp_path / "state.json", STATE)
    with pytest.raises(OSError, match="File too large") as caught, no_room():
        save_state(tmp_path / "state.json", TOLD)
    assert caught.value.filename == str(tmp_path / "state.json")
    assert load_state(tmp_path / "state.json") == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
