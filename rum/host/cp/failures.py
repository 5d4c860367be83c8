"""How a copy fails, in words: which side it was, with which exit status, and what to do."""

from __future__ import annotations

import errno
import os
import shlex

from rum.host.channel.checked import BrokenProtocolError, sentence
from rum.host.cp.request import CopyRequest
from rum.host.errors import ConfigError, GuestError, HostError, RumError
from rum.host.outcome import Copied, counted
from rum.host.sizes import show_size
from rum.protocol import Message
from rum.transfer.records import BrokenStreamError, EscapeError, TransferError, get_bytes

FULL = {errno.ENOSPC, errno.EDQUOT}
DENIED = {errno.EACCES, errno.EPERM}


def on_host(failure: TransferError | BrokenStreamError) -> RumError:
    """The error for what the host's end has met."""
    if isinstance(failure, BrokenStreamError):
        return BrokenProtocolError(f"cp: {failure}")
    if isinstance(failure, EscapeError):
        return GuestError(str(failure), hint="the guest's end is broken or means harm; nothing was written there")
    if failure.path_is_wrong:
        return ConfigError(str(failure), hint=make_it("", failure.missing))
    return HostError(str(failure), hint="make room: df -h" if failure.number in FULL else None)


def in_guest(record: Message, request: CopyRequest) -> RumError:
    """The error for a `failed` record that has been checked."""
    text = f"in the guest: {sentence(record, 'text')}"
    if record["path_is_wrong"]:
        missing = None if record["missing"] is None else get_bytes(record, "missing")
        as_user = f"--user {shlex.quote(request.user)} " if request.user else ""
        return ConfigError(text, hint=make_it(f"rum exec {as_user}-- ", missing))
    return GuestError(text, hint=guest_hint(record["errno"], request.user))


def guest_hint(number: int | None, user: str | None) -> str | None:
    """What to do about an errno of the guest."""
    if number in FULL:
        return "make room in the guest: rum exec -- df -h"
    if number in DENIED and user:
        return f"{user} may not do that; without --user it is done as root"
    return None


def make_it(prefix: str, missing: bytes | None) -> str | None:
    """The command that makes a directory."""
    return None if missing is None else f"make it first: {prefix}mkdir -p {shlex.quote(os.fsdecode(missing))}"


def with_copied(error: RumError, copied: Copied) -> RumError:
    """The same error, saying what was copied before it."""
    if copied.files:
        error.args = (f"{error}; before that, {amount(copied)} {were(copied.files)} copied",)
    return error


def amount(copied: Copied) -> str:
    """What was copied.

    >>> amount(Copied(2, 2048))
    '2 files (2 KiB)'
    """
    return f"{counted(copied.files, 'file')} ({show_size(copied.bytes)})"


def were(number: int) -> str:
    """The verb for so many."""
    return "was" if number == 1 else "were"
