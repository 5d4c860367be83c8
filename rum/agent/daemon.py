"""The agent: what it starts with, what it runs, and the order in which it stops."""

from __future__ import annotations

import os
import signal
import socket
import sys
from typing import Callable, Protocol

from rum.agent.cache import CachedScript, ScriptCache, in_order
from rum.agent.compiled import keep_compiled
from rum.agent.connection import Connection
from rum.agent.large_message import LargeMessage
from rum.agent.ledger import Ledger
from rum.agent.listener import accept_from
from rum.agent.loop import READ, Loop, Timer
from rum.agent.plan import Plan, changed_scripts, make_plan
from rum.agent.pump import adopt_fifos
from rum.agent.record import Readable, StoredRecord
from rum.agent.recovery import (
    close_interrupted_runs,
    kill_left_commands,
    new_run_id,
    prune_runs,
    run_ids,
    settle_state,
)
from rum.agent.run import Guest, Order, Run
from rum.agent.runs import RunIndex
from rum.agent.service import find_build, notify
from rum.agent.settings import Settings
from rum.agent.vsock_driver import expect_driver
from rum.agent.waits import release_network_wait
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.limits import RECORDS_KEPT, UNAUTHENTICATED_MAX
from rum.protocol.messages import Message, welcome
from rum.protocol.results import ProvisionResult
from rum.protocol.scripts import Mode, RunOn

LAST_WORDS_S = 2.0
"""How long clients may take to read the end of a run that a shutdown has interrupted."""


class Work(Protocol):
    """What is done for one client, and for nobody once that is gone: a command, the transfer of a file."""

    holds_up: bool
    """Whether an agent that makes room for its successor waits for it; what may last for ever is cut instead."""
    on_end: Callable[[], None]
    """To be called once, when it is over."""

    def start(self) -> None:
        """Begin."""

    def client_gone(self) -> None:
        """Stop."""


ServeRequest = Callable[["Daemon", Connection, Message], None]


class Daemon:
    """One agent. Its public methods are what `rum.agent.methods` needs; everything else follows from the loop."""

    def __init__(self, settings: Settings, key: bytes, version: str, serve_request: ServeRequest) -> None:
        self.settings = settings
        self.version = version
        self._build = find_build()
        self.boot_id = settings.boot_id()
        self.loop = Loop()
        self.ledger = Ledger(settings, self.boot_id)
        self.cache = ScriptCache(settings)
        self.run: Run | None = None
        self._guest = Guest(self.loop, settings, self.boot_id, self.cache, self.ledger)
        self._key = key
        self._serve_request = serve_request
        self._latest: Run | None = None
        self._connections: list[Connection] = []
        self._works: dict[Connection, Work] = {}
        self._settled = False
        self._stopping = False
        self._leaving = False
        self._dismissing = False
        self._last_words: Timer | None = None
        try:
            self.settle()
        except OSError as exc:
            # Clients are served all the same: who wants something stored is told why it cannot be.
            complain(f"cannot use {settings.state_dir}", exc)
        self.runs = RunIndex(settings, close_interrupted_runs(settings, self.ledger, self.cache))
        kill_left_commands(settings)
        adopt_fifos(self.loop, settings.fifo_dir)

    def serve(self, listener: socket.socket) -> None:
        """Serve until a signal ends it. Boot scripts run by themselves once clients could watch them.

        SIGTERM and SIGINT stop what goes on. SIGHUP asks the agent to make room for its successor, which it does as
        soon as nothing goes on; until then it serves as before.
        """
        accept_from(self.loop, listener, self._accept)
        self._watch_signals()
        notify("READY=1")
        release_network_wait(self.settings)
        expect_driver(self.loop, listener)
        if self.settings.in_guest:
            keep_compiled(self.loop, self.settings)
        self._run_boot_scripts()
        self.loop.run()
        notify("STOPPING=1")
        signal.set_wakeup_fd(-1)
        for connection in list(self._connections):
            connection.close()
        for opened in (*self._signal_pipe, listener):
            opened.close()

    def settle(self) -> None:
        """Make sure that things can be stored; to be called before something is. Raises OSError."""
        if not self._settled:
            settle_state(self.settings)
            self._settled = True

    def provision(self, mode: Mode, scripts: list[CachedScript]) -> Run | ProvisionResult:
        """The run that does it, also one that goes on already, or the result where nothing has to run.

        The scripts' texts are stored. Raises RequestError: busy with another run, or the list could not be stored.
        """
        order = Order(mode, in_order(scripts))
        if self.run and self.run.order == order and not self._stopping:
            return self.run
        if self.run or self._stopping:
            raise RequestError(ErrorCode.BUSY, "another run goes on; attach to it, and ask again when it has ended")
        try:
            self.cache.replace(scripts) if mode is Mode.AUTO else self.cache.merge(scripts)
            plan = make_plan(mode, order.scripts, self.ledger)
            return self._begin(order, plan, trigger="host") if plan.run else self._nothing_to_run(order, plan)
        except OSError as exc:
            raise RequestError(ErrorCode.INTERNAL, f"the guest cannot store the scripts: {exc.strerror}") from exc

    def record(self, run_id: str | None) -> Readable:
        """The record of that run, None for the latest. Raises RequestError where there is none."""
        if self._latest and run_id in (None, self._latest.run_id):
            return self._latest.record
        ids = run_ids(self.settings)
        if run_id is None and not ids:
            raise RequestError(ErrorCode.NOT_FOUND, "nothing has run in this guest yet")
        wanted = ids[-1] if run_id is None else run_id
        if wanted not in ids:
            raise RequestError(
                ErrorCode.NOT_FOUND, f"there is no run {wanted[:80]!r}; the last {RECORDS_KEPT} are kept"
            )
        try:
            record = StoredRecord(os.path.join(self.settings.runs_dir, wanted))
        except (OSError, ValueError) as exc:
            raise RequestError(ErrorCode.NOT_FOUND, f"the record of run {wanted} cannot be read: {exc}") from exc
        return record

    def is_latest(self, record: Readable) -> bool:
        """Whether the daemon itself keeps this record open."""
        return self._latest is not None and self._latest.record is record

    def cancel(self, run_id: str | None) -> bool:
        """Stop the run, None for whichever goes on; whether there was one to stop."""
        if self.run is None or run_id not in (None, self.run.run_id):
            return False
        self.run.stop("cancelled")
        return True

    def begin(self, connection: Connection, work: Work) -> None:
        """Do what goes on for as long as this client is there."""
        self._works[connection] = work
        work.on_end = lambda: self._work_ended(connection)
        work.start()

    def _run_boot_scripts(self) -> None:
        boot_scripts = [script for script in self.cache.scripts if script.run_on is RunOn.BOOT]
        if self.ledger.system_provisioned and boot_scripts and not self.ledger.boot_tried:
            order = Order(Mode.AUTO, self.cache.scripts)
            try:
                self._begin(order, make_plan(order.mode, order.scripts, self.ledger), trigger="boot")
            except OSError as exc:
                # The host is served all the same: it is told when it asks for them, and can make room.
                complain("cannot run the boot scripts", exc)

    def _begin(self, order: Order, plan: Plan, *, trigger: str) -> Run:
        prune_runs(self.settings, keep=RECORDS_KEPT - 1)
        run = Run(self._guest, new_run_id(self.settings), order, plan, trigger=trigger)
        if self._latest:
            self._latest.record.retire()
        self.run = self._latest = run
        run.on_end = self._run_ended
        self.runs.add(run.record.summary)
        run.begin()
        self.runs.changed()
        return run

    def _run_ended(self) -> None:
        self.run = None
        self.runs.changed()
        self._maybe_end()

    def _work_ended(self, connection: Connection) -> None:
        self._works.pop(connection, None)
        self._maybe_end()

    def _nothing_to_run(self, order: Order, plan: Plan) -> ProvisionResult:
        first_boot = not self.ledger.system_provisioned
        if first_boot and order.mode in (Mode.AUTO, Mode.ALL):
            # A System script would have been planned, so there is none.
            self.ledger.write_sentinel(self.settings.vm_id, None)
        return ProvisionResult(
            success=True,
            first_boot=first_boot,
            skipped=plan.skipped,
            changed=changed_scripts(in_order(self.cache.scripts), self.ledger),
            system_provisioned=self.ledger.system_provisioned,
        )

    def _accept(self, sock: socket.socket) -> None:
        strangers = [connection for connection in self._connections if not connection.authenticated]
        if len(strangers) >= UNAUTHENTICATED_MAX:
            strangers[0].close()
        greeting = welcome(self.version, self.boot_id, self.settings.vm_id, self._build)
        connection = Connection(self.loop, sock, self._key, greeting, self._request, self._gone, self._make_large)
        if not connection.closed:
            self._connections.append(connection)

    def _make_large(self) -> LargeMessage:
        return LargeMessage(self.settings.state_dir)

    def _request(self, connection: Connection, request: Message) -> None:
        self._serve_request(self, connection, request)

    def _gone(self, connection: Connection) -> None:
        if connection in self._connections:
            self._connections.remove(connection)
        work = self._works.get(connection)
        if work:
            work.client_gone()
        self._maybe_end()

    def _watch_signals(self) -> None:
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        self._signal_pipe = (reader, writer)
        signal.set_wakeup_fd(writer.fileno())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda _number, _frame: None)
        self.loop.watch(reader.fileno(), lambda _events: self._take_signals()).want(READ)

    def _take_signals(self) -> None:
        if set(self._signal_pipe[0].recv(16)) <= {signal.SIGHUP}:
            self._leaving = True
            self._maybe_end()
        else:
            self._stop()

    def _stop(self) -> None:
        if self._stopping:
            return
        self._stopping = True
        for work in list(self._works.values()):
            work.client_gone()
        if self.run:
            self.run.stop("interrupted")
        else:
            self._maybe_end()

    def _maybe_end(self) -> None:
        """End, if that is wanted, once nothing runs and the clients have read how it ended.

        An agent that is being stopped does not wait long for them.
        """
        # The end of each work asks again, and there may be hundreds: not from within each other.
        if self._dismissing or not (self._stopping or self._leaving) or self.run:
            return
        if any(work.holds_up for work in self._works.values()):
            return
        self._dismissing = True
        for work in list(self._works.values()):
            work.client_gone()
        self._dismissing = False
        if not any(connection.authenticated for connection in self._connections):
            self.loop.stop()
        elif self._stopping and not self._last_words:
            self._last_words = self.loop.call_later(LAST_WORDS_S, self.loop.stop)


def complain(what: str, error: OSError) -> None:
    """Tell the journal what went wrong."""
    sys.stderr.write(f"rum-agent: {what}: {error}\n")
