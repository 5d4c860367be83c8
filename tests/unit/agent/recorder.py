"""Runs inside an agent under test: writes down every step of its durable module, and may make one of them fail.

The journal has one JSON object per line, in the order in which things happened; scripts add lines of their own. As the
agent it needs nothing but the standard library of Python 3.9.
"""

from __future__ import annotations

import errno
import json
import os

from rum.agent import connection, disk_sync, durable
from rum.agent.record import Record


class Journal:
    """Appends lines, each in one write, so that several processes may."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def add(self, step: str, **fields: object) -> None:
        os.write(self._fd, json.dumps({"step": step, **fields}).encode("ascii") + b"\n")


class RecordedOs:
    """Stands in for `os` in rum.agent.durable.

    Of the steps that change the disk those whose number is in `failing` fail, and all of them while there is a file
    `full`.
    """

    def __init__(self, journal: Journal, failing: range, error: int, full: str) -> None:
        self._journal = journal
        self._failing = failing
        self._error = error
        self._full = full
        self._number = 0

    def __getattr__(self, name: str) -> object:
        return getattr(os, name)

    def open(self, path: str, flags: int, mode: int = 0o777) -> int:
        created = bool(flags & os.O_CREAT) and not os.path.lexists(path)
        if created:
            self._may_fail()
        fd = os.open(path, flags, mode)
        self._journal.add("open", path=path, fd=fd, created=created, emptied=bool(flags & os.O_TRUNC))
        return fd

    def write(self, fd: int, data: bytes) -> int:
        try:
            self._may_fail()
        except OSError:
            # A disk that fills up takes a part of it.
            self._write(fd, data[: len(data) // 2])
            raise
        return self._write(fd, data)

    def _write(self, fd: int, data: bytes) -> int:
        written = os.write(fd, data)
        self._journal.add("write", fd=fd, data=bytes(data[:written]).hex())
        return written

    def fsync(self, fd: int) -> None:
        self._may_fail()
        os.fsync(fd)
        self._journal.add("fsync", fd=fd)

    def ftruncate(self, fd: int, size: int) -> None:
        self._may_fail()
        os.ftruncate(fd, size)
        self._journal.add("ftruncate", fd=fd, size=size)

    def replace(self, source: str, target: str) -> None:
        self._may_fail()
        os.replace(source, target)
        self._journal.add("replace", source=source, target=target)

    def unlink(self, path: str) -> None:
        os.unlink(path)
        self._journal.add("unlink", path=path)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        self._may_fail()
        os.mkdir(path, mode)
        self._journal.add("mkdir", path=path)

    def rmdir(self, path: str) -> None:
        os.rmdir(path)
        self._journal.add("rmdir", path=path)

    def _may_fail(self) -> None:
        number, self._number = self._number, self._number + 1
        if number in self._failing or os.path.exists(self._full):
            self._journal.add("failure", error=self._error)
            raise OSError(self._error, os.strerror(self._error))


class RecordedFollower(connection.Follower):
    """Writes down what of a record that is still written a client has been given."""

    journal: Journal

    def pull(self, limit: int) -> bytes:
        data = super().pull(limit)
        if isinstance(self.record, Record):
            self.journal.add("told", fd=self.record._fd, size=self._offset)
        return data


def install(path: str, first_failure: int = 0, failures: int = 0, error: int = errno.ENOSPC, full: str = "") -> None:
    """Record from here on; steps from `first_failure` on fail, so many of them, and any while there is a `full`."""
    journal = Journal(path)
    journal.add("agent", boot_id=None)
    RecordedFollower.journal = journal
    disk_sync.COMMAND = ["sh", "-c", f"""echo '{{"step": "sync"}}' >>{path}"""]
    durable.os = RecordedOs(  # type: ignore[assignment,attr-defined]
        journal, range(first_failure, first_failure + failures), error, full
    )
    connection.Follower = RecordedFollower  # type: ignore[misc]
