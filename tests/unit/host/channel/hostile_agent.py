"""An agent that holds the key, speaks the protocol, and says whatever a test has it say."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from rum.protocol import AgentHandshake, Conversation, Kind, Message, Role, encode_message, encode_output
from rum.protocol.messages import welcome
from tests.unit.host.local_guest import LocalGuest, local_guest, script_toml, wait_until

BOOT = "b0071d00-0000-4000-8000-000000000000"
RUN = "000001-abcdef"
SCRIPT = "one"

STARTED: Message = {
    "type": "run_started",
    "run_id": RUN,
    "boot_id": BOOT,
    "first_boot": True,
    "trigger": "host",
    "scripts": [SCRIPT],
    "skipped": [],
}
SCRIPT_STARTED: Message = {
    "type": "script_started",
    "name": SCRIPT,
    "order": 50,
    "run_on": "system",
    "index": 1,
    "total": 1,
    "timestamp_us": 1_700_000_000_000_000,
}
EXITED: Message = {
    "type": "script_exited",
    "name": SCRIPT,
    "exit_code": 0,
    "signal": None,
    "timed_out": False,
    "duration_ms": 1200,
}
PASSED: Message = {
    "type": "result",
    "success": True,
    "run_id": RUN,
    "failed_script": None,
    "exit_code": None,
    "signal": None,
    "timed_out": False,
    "cancelled": False,
    "interrupted": False,
    "first_boot": True,
    "ran": [SCRIPT],
    "skipped": [],
    "changed": [],
    "system_provisioned": True,
}
STATUS: Message = {
    "type": "result",
    "agent_version": "0.1.0",
    "python": "3.11.2",
    "boot_id": BOOT,
    "vm_id": "",
    "uptime_s": 12.5,
    "system_provisioned": True,
    "run": None,
    "scripts": [],
}
HEARTBEAT = encode_message({"type": "heartbeat"})


class Talk:
    """One connection after its request."""

    def __init__(self, sock: socket.socket, request: Message) -> None:
        self._sock = sock
        self.request = request

    def say(self, *said: Message | bytes) -> None:
        """Send messages, or bytes as they are."""
        for item in said:
            self._sock.sendall(item if isinstance(item, bytes) else encode_message(item))

    def stay(self) -> None:
        """Say nothing more until the client is gone."""
        while self._sock.recv(65536):
            pass

    def go_on(self, *said: Message | bytes, pause_s: float = 0.0) -> None:
        """Say the same again and again until the client is gone."""
        self._sock.settimeout(pause_s or 60.0)
        while True:
            self.say(*said)
            with contextlib.suppress(TimeoutError):
                if pause_s and not self._sock.recv(65536):
                    return


Play = Callable[[Talk], None]


def saying(*said: Message | bytes) -> Play:
    """A play that says this and waits for the client to go."""

    def play(talk: Talk) -> None:
        talk.say(*said)
        talk.stay()

    return play


def output(data: bytes, kind: Kind = Kind.STDOUT) -> bytes:
    """An output frame."""
    return encode_output(kind, 1_700_000_000_000_000, data)


def run(*events: Message | bytes, result: Message = PASSED) -> Play:
    """A run of one script with these events in it."""
    return saying(STARTED, SCRIPT_STARTED, *events, EXITED, result)


def nothing_yet(talk: Talk) -> None:
    """An agent that has not run anything."""
    saying({"type": "error", "code": "not-found", "message": "nothing has run in this guest yet"})(talk)


HONEST: dict[str, Play] = {
    "status": saying(STATUS),
    "attach": nothing_yet,
    "runs": saying({"type": "runs", "runs": []}, {"type": "result"}),
    "provision": run(),
    "cancel": saying({"type": "result", "cancelled": True}),
    "exec": saying({"type": "result", "exit_code": 0, "signal": None, "timed_out": False}),
}


class HostileAgent:
    """Serves a Unix socket as vhost-device-vsock does. What it does not do by a play, it does honestly."""

    def __init__(self, path: Path, key: bytes, vm_id: str, plays: dict[str, Play], greeting: Message) -> None:
        self._key = key
        self._plays = {**HONEST, **plays}
        self._welcome = {**welcome("0.1.0", BOOT, vm_id), **greeting}
        self.requests: list[Message] = []
        self.talking = 0
        self._live: set[socket.socket] = set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Cut every connection and listen no more."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(20)
        for sock in list(self._live):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: not self._live, "the connections to end")

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._live.add(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            # The client may be gone at any point, which is its right.
            with sock, contextlib.suppress(OSError):
                sock.settimeout(60.0)
                if request := self._greet(sock):
                    self.requests.append(request)
                    self._plays[str(request["method"])](Talk(sock, request))
        finally:
            self._live.discard(sock)

    def _greet(self, sock: socket.socket) -> Message | None:
        sock.recv(64)
        sock.sendall(b"OK 1024\n")
        handshake = AgentHandshake(self._key)
        sock.sendall(handshake.greeting)
        proof = None
        while proof is None and (data := sock.recv(handshake.missing)):
            proof = handshake.receive(data)
        conversation = Conversation(Role.AGENT)
        sock.sendall((proof or b"") + conversation.send_message(self._welcome))
        while data := sock.recv(65536):
            conversation.feed(data)
            for received in conversation.received():
                return received.message
        return None


@contextlib.contextmanager
def hostile_guest(
    directory: Path, plays: dict[str, Play] | None = None, greeting: Message | None = None
) -> Iterator[tuple[LocalGuest, HostileAgent]]:
    """A VM with one script, whose agent is hostile."""
    with local_guest(directory, script_toml(SCRIPT, "true"), started=False) as guest:
        path = directory / "vm.vsock"
        agent = HostileAgent(path, guest.the_key, guest.the_vm_id, plays or {}, greeting or {})
        try:
            yield guest, agent
        finally:
            agent.close()
            path.unlink()
