"""Waiting for an agent: how long, what is shown, and what ends it early."""

from __future__ import annotations

import os
import re
import threading
from pathlib import Path

import pytest

from rum.host.channel import reach
from rum.host.channel.client import AgentConnection, LostError, open_agent
from rum.host.channel.endpoint import Endpoint
from rum.host.channel.reach import (
    PausedError,
    StoppedError,
    explained_loss,
    reach_agent,
    require_running,
    wait_for_agent,
)
from rum.host.deadlines import Check, Deadline
from rum.host.errors import GuestError
from rum.host.events import ConsoleLine
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest


def test_an_agent_that_comes_up_late_is_reached(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        starter = threading.Timer(0.3, guest.start)
        starter.start()
        with wait_for_agent(guest, Deadline(20), Seen()) as connection:
            assert connection.welcome["vm_id"] == guest.vm_id()
        starter.join()


def test_whoever_gets_an_answer_has_it_noted(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        wait_for_agent(guest, Deadline(20), Seen()).close()
        assert guest.answers == 1
        reach_agent(guest, Seen()).close()
        assert guest.answers == 2


@pytest.mark.parametrize(
    "said", ["[  OK  ] Started rum-agent.service - rum guest agent.", "[  OK  ] Started rum guest agent."]
)
def test_the_console_tells_when_to_ask_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    asked = threading.Event()

    def ask(endpoint: Endpoint, key: bytes, vm_id: str, deadline: Deadline, check: Check) -> AgentConnection:
        asked.set()
        return open_agent(endpoint, key, vm_id, deadline, check)

    monkeypatch.setattr(reach, "RETRY_S", 120.0)
    monkeypatch.setattr(reach, "open_agent", ask)
    with local_guest(tmp_path, started=False) as guest:

        def boot() -> None:
            assert asked.wait(20)
            guest.start()
            with guest.paths.console_log.open("a") as console:
                console.write(f"\x1b[32m{said}\r\n")

        booting = threading.Thread(target=boot)
        booting.start()
        with wait_for_agent(guest, Deadline(60), Seen()) as connection:
            assert connection.welcome["vm_id"] == guest.vm_id()
        booting.join()


def test_the_deadline_ends_it_with_the_consoles_tail_and_a_diagnosis(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        sentence = r"did not answer within 0 s \(nobody answers.*\): the console shows nothing unusual"
        short = Deadline(0.4)
        with pytest.raises(GuestError, match=sentence) as caught:
            wait_for_agent(guest, short, Seen())
    assert caught.value.tail == ("Linux version", "login:")
    assert "boot_timeout_s" in str(caught.value.hint)


def test_a_dead_vm_or_daemon_ends_it_at_once(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.daemon_alive = False
        with pytest.raises(GuestError, match="daemon of VM demo has died"):
            wait_for_agent(guest, Deadline(60), Seen())
        guest.running = False
        with pytest.raises(GuestError, match="VM demo stopped while rum was waiting") as caught:
            wait_for_agent(guest, Deadline(60), Seen())
    assert caught.value.tail == ("Linux version", "login:")


def test_a_pause_for_want_of_room_ends_it_at_once_with_what_to_do(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.out_of_space = True
        sentence = f"VM demo is paused, because the disk of {guest.paths.state} is full"
        with pytest.raises(PausedError, match=f"^{re.escape(sentence)}$") as caught:
            wait_for_agent(guest, Deadline(60), Seen())
        assert "make room on that disk, then `rum up`" in str(caught.value.hint)
        with pytest.raises(PausedError):
            require_running(guest)


def test_a_loss_in_a_vm_that_runs_stays_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "NOTICED_WITHIN_S", 0.2)
    with (
        local_guest(tmp_path, started=False) as guest,
        pytest.raises(LostError, match="silent"),
        explained_loss(guest),
    ):
        raise LostError("the agent has been silent for 15 s")


def test_a_loss_is_explained_by_a_pause(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.out_of_space = True
        with pytest.raises(PausedError, match="is full"), explained_loss(guest):
            raise LostError("the agent has been silent for 15 s")


def test_a_loss_is_explained_by_an_end_of_the_vm_that_libvirt_notices_later(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        noticing = threading.Timer(0.3, lambda: setattr(guest, "running", False))
        noticing.start()
        with pytest.raises(StoppedError, match=r"^VM demo stopped$") as caught, explained_loss(guest):
            raise LostError("the connection to the agent ended before the result")
        noticing.join()
    assert str(caught.value.hint).startswith("run `rum up` to start it again")
    assert isinstance(caught.value.__cause__, LostError)


def test_a_loss_is_explained_by_a_vm_that_was_destroyed(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.running = guest.there = False
        with pytest.raises(StoppedError, match="VM demo was destroyed"), explained_loss(guest):
            raise LostError("the connection to the agent ended before the result")


def test_a_vm_that_is_destroyed_meanwhile_is_called_so(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        guest.running = guest.there = False
        with pytest.raises(StoppedError, match="VM demo was destroyed while rum was waiting for it"):
            wait_for_agent(guest, Deadline(60), Seen())


def test_another_key_is_no_endless_not_ready(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest:
        guest.the_key = os.urandom(32)
        with pytest.raises(GuestError, match="does not accept this VM's key") as caught:
            wait_for_agent(guest, Deadline(60), Seen())
    assert "rum destroy" in str(caught.value.hint)


def test_the_wait_shows_the_console_and_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SIGN_OF_LIFE_S", 0.1)
    with local_guest(tmp_path, started=False) as guest:
        seen = Seen()

        def boot() -> None:
            with guest.paths.console_log.open("ab") as console:
                console.write(b"\x1b[1mStarting\x1b[0m it\r\npart")

        booting = threading.Timer(0.1, boot)
        booting.start()
        with pytest.raises(GuestError):
            wait_for_agent(guest, Deadline(1.2), seen)
        booting.join()
    assert [event.text for event in seen if isinstance(event, ConsoleLine)] == ["Starting it"]
    assert any(text.startswith("still booting, ") and text.endswith("Starting it") for text in seen.notices())


def test_a_guest_that_nothing_can_be_installed_in_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reach, "SIGN_OF_LIFE_S", 0.1)
    with local_guest(tmp_path, started=False) as guest:
        gave_up = (
            "cloud-init[2]: failed run of stage init-local\ncloud-init[3]: Cloud-init v. 22.4.2 finished at 12:01\n"
        )
        guest.paths.console_log.write_text(gave_up)
        with pytest.raises(GuestError, match="VM demo cannot be provisioned") as caught:
            wait_for_agent(guest, Deadline(60), Seen())
        assert "rum destroy" in str(caught.value.hint)
        monkeypatch.undo()
        guest.start()
        with wait_for_agent(guest, Deadline(20), Seen()) as connection:
            assert connection.welcome["vm_id"] == guest.vm_id(), "an agent that is there needs no cloud-init"


def write_panic(guest: LocalGuest) -> None:
    with guest.paths.console_log.open("ab") as console:
        console.write(b"[ 5.1] Kernel panic - not syncing: VFS: Unable to mount root fs\r\n[ 5.2] Call Trace:\r\n")
        console.write(b"[ 5.9] ---[ end Kernel panic - not syncing: VFS: Unable to mount root fs ]---\r\n")


def test_a_kernel_panic_ends_it_at_once(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest:
        panic = threading.Timer(0.1, write_panic, [guest])
        panic.start()
        with pytest.raises(GuestError, match="VM demo cannot boot"):
            wait_for_agent(guest, Deadline(60), Seen())
        panic.join()
        with pytest.raises(GuestError, match="VM demo cannot boot"):
            wait_for_agent(guest, Deadline(60), Seen())
