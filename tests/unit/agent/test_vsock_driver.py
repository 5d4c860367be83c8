"""What the agent says on the console of a guest in which vsock leads nowhere."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from rum.agent import vsock_driver
from rum.agent.loop import Loop


@pytest.mark.parametrize("cid", [0, 1, 2, 0xFFFFFFFF])
def test_without_an_address_of_a_guest_nobody_comes(
    cid: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vsock_driver, "local_cid", lambda: cid)
    vsock_driver.complain_without_driver()
    assert capsys.readouterr().err == (
        "rum-agent: there is no virtio-vsock driver in this kernel, so nobody can reach the agent\n"
    )


@pytest.mark.parametrize("cid", [3, 0xFFFFFFFE])
def test_with_one_there_is_nothing_to_say(
    cid: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vsock_driver, "local_cid", lambda: cid)
    vsock_driver.complain_without_driver()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("device", ["none", "."])
def test_a_kernel_that_cannot_be_asked_is_not_judged(
    device: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(vsock_driver, "DEVICE", str(tmp_path / device))
    vsock_driver.complain_without_driver()
    assert capsys.readouterr().err == ""


def test_what_is_no_vsock_device_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vsock_driver, "DEVICE", "/dev/null")
    with pytest.raises(OSError, match="ioctl"):
        vsock_driver.local_cid()


@pytest.mark.parametrize(("family", "asked"), [(socket.AF_VSOCK, [0xFFFFFFFF]), (socket.AF_UNIX, [])])
def test_only_a_vsock_listener_needs_a_driver(
    family: socket.AddressFamily, asked: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Listener:
        def __init__(self) -> None:
            self.family = family

    seen: list[int] = []
    monkeypatch.setattr(vsock_driver, "PATIENCE_S", 0.0)
    monkeypatch.setattr(vsock_driver, "complain_without_driver", lambda: seen.append(0xFFFFFFFF))
    loop = Loop()
    vsock_driver.expect_driver(loop, Listener())  # type: ignore[arg-type] # a host without vsock has no such socket
    loop.call_later(0.01, loop.stop)
    loop.run()
    assert seen == asked
