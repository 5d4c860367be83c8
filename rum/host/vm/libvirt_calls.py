"""How libvirt is asked: with a deadline, and once more where the connection had ended.

libvirt's client waits for its daemon for ever, and a Ctrl+C is not felt meanwhile.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from rum.host.deadlines import OvertimeError, within
from rum.host.vm.libvirt_errors import LostLibvirtError, SilentLibvirtError

P = ParamSpec("P")
R = TypeVar("R")

LIBVIRT_TIMEOUT_S = 120.0
"""On an emulated host libvirt's first look at QEMU takes a minute, and to end a QEMU that will not end half of one."""

CLOSE_TIMEOUT_S = 5.0
"""Nothing depends on it: the daemon notices by itself that a client has gone."""


class Connected(Protocol):
    """What has a connection to libvirt."""

    uri: str

    def reconnect(self) -> None:
        """Connect anew. Raises HostError."""


D = TypeVar("D", bound=Connected)


def answered(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """Give libvirt so much time for what the method asks of it. Raises SilentLibvirtError."""

    @functools.wraps(method)
    def done(driver: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return within(LIBVIRT_TIMEOUT_S, lambda: method(driver, *args, **kwargs), Exception)
        except OvertimeError as exc:
            raise SilentLibvirtError(
                f"libvirt at {driver.uri} has not answered within {LIBVIRT_TIMEOUT_S:.0f} s",
                hint="its daemon is stopped, or hangs: ps -o pid,stat,args -C libvirtd,virtqemud",
            ) from exc

    return done


def reconnecting(method: Callable[Concatenate[D, P], R]) -> Callable[Concatenate[D, P], R]:
    """The same, and once more where the connection had ended: for what may be done twice."""
    ask = answered(method)

    @functools.wraps(method)
    def done(driver: D, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return ask(driver, *args, **kwargs)
        except LostLibvirtError:
            driver.reconnect()
            return ask(driver, *args, **kwargs)

    return done
