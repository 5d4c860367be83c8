"""Forwarded ports: the commands and the process they leave behind, with the real agent in place of a VM."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rum.host import own_command
from rum.host.channel.vhost_worker import Channel
from rum.host.config.load import load_config
from rum.host.errors import HostError
from rum.host.ports import forwarder, forwards
from rum.host.ports.forwarder import Forwarder
from rum.host.ports.forwards import Wanted, hand_out, process_of, take_over
from rum.host.ports.host_ports import bind_port, require_port
from rum.host.store import VmLock
from tests.unit.agent.tcp_servers import digest, echo, reset, sending, serving
from tests.unit.host import cli_with_agent
from tests.unit.host.cli.test_commands import command, json_lines, rum
from tests.unit.host.local_guest import CHECKOUT, LocalGuest, Seen, local_guest, wait_until

BIG = 8 * 1024 * 1024


def free_port() -> int:
    """A port of the host that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def static(host: int, guest: int) -> str:
    return f"[[ports]]\nhost = {host}\nguest = {guest}\n"


@pytest.fixture(autouse=True, scope="module")
def own_program() -> Iterator[None]:
    """The process of the forwards has the running agent for a VM, too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own_command, "PROGRAM", (sys.executable, str(Path(cli_with_agent.__file__))))
        patch.setenv("PYTHONPATH", str(CHECKOUT))
        yield


def up(guest: LocalGuest, *, booted: bool = False) -> list[str]:
    """What `rum up` does about the ports, and what it says about them."""
    seen = Seen()
    config = load_config(guest.config.path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUM_TEST_GUEST", guest.described())
        with VmLock(guest.paths.lock).hold(seen), forwards.prepared(config, guest.paths, seen) as hand_over:
            hand_over(booted)
    return seen.notices()


@contextlib.contextmanager
def forwarding(directory: Path, toml: str) -> Iterator[LocalGuest]:
    """A guest whose ports are forwarded; afterwards they are not."""
    with local_guest(directory, toml) as guest:
        up(guest)
        try:
            yield guest
        finally:
            forwards.stop(guest.paths)
            assert process_of(guest.paths).find() == []


def dial(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 20)
    sock.settimeout(20)
    return sock


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def send_all(sock: socket.socket, data: bytes) -> None:
    sock.sendall(data)
    sock.shutdown(socket.SHUT_WR)


def ask(port: int, data: bytes) -> bytes:
    """Send the data and the end, read to the end."""
    with dial(port) as sock:
        sender = threading.Thread(target=send_all, args=(sock, data))
        sender.start()
        answer = read_all(sock)
        sender.join(20)
        return answer


def status(guest: LocalGuest) -> dict[str, Any]:
    done = rum(guest, "-o", "json", "status")
    assert done.returncode == 0, done.stderr
    return next(line for line in json_lines(done.stdout) if "state" in line)


def notices(done: subprocess.CompletedProcess[bytes]) -> str:
    return done.stderr.decode()


def reconfigure(guest: LocalGuest, toml: str) -> None:
    guest.config.path.write_text(f'[image]\nbase = "debian-12"\n{toml}', encoding="utf-8")


def pid_of(guest: LocalGuest) -> int:
    [pid] = process_of(guest.paths).find()
    return pid


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory, own_program: None) -> Iterator[dict[str, int]]:
    """Host ports by what they lead to, of one guest for all."""
    flood = bytes(range(256)) * (BIG // 256)
    with contextlib.ExitStack() as stack:
        servers = {"echo": echo, "digest": digest, "reset": reset, "flood": sending(flood)}
        guests = {name: stack.enter_context(serving(serve)) for name, serve in servers.items()}
        hosts = {name: free_port() for name in (*guests, "nobody")}
        guests["nobody"] = free_port()
        toml = "".join(static(hosts[name], guests[name]) for name in hosts)
        stack.enter_context(forwarding(tmp_path_factory.mktemp("ports"), toml))
        yield hosts


class TestConnections:
    """What goes through, and how it ends."""

    def test_every_byte_arrives_both_ways(self, ports: dict[str, int]) -> None:
        data = os.urandom(BIG)
        assert ask(ports["digest"], data).decode() == hashlib.sha256(data).hexdigest()
        assert ask(ports["flood"], b"") == bytes(range(256)) * (BIG // 256)

    def test_each_direction_ends_by_itself(self, ports: dict[str, int]) -> None:
        with dial(ports["echo"]) as sock:
            sock.sendall(b"one")
            assert sock.recv(100) == b"one"
            sock.sendall(b"two")
            sock.shutdown(socket.SHUT_WR)
            assert read_all(sock) == b"two"

    def test_fifty_at_once(self, ports: dict[str, int]) -> None:
        socks = [dial(ports["echo"]) for _ in range(50)]
        for number, sock in enumerate(socks):
            sock.sendall(b"%d" % number)
        for number, sock in enumerate(socks):
            assert sock.recv(100) == b"%d" % number
            sock.close()

    @pytest.mark.parametrize("name", ["reset", "nobody"])
    def test_a_reset_and_a_refusal_are_resets(self, ports: dict[str, int], name: str) -> None:
        with dial(ports[name]) as sock:
            sock.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                sock.recv(1)


def test_a_client_that_resets_resets_the_guests_end(tmp_path: Path) -> None:
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        try:
            while sock.recv(100):
                pass
        except ConnectionResetError:
            ended.set()

    port = free_port()
    with serving(serve) as guest_port, forwarding(tmp_path, static(port, guest_port)):
        with dial(port) as sock:
            sock.sendall(b"x")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert ended.wait(20)


class TestLife:
    """From `rum up` to `rum down`."""

    def test_up_says_what_is_forwarded_and_status_lists_it(self, tmp_path: Path) -> None:
        port = free_port()
        with serving(echo) as guest_port, local_guest(tmp_path, static(port, guest_port)) as guest:
            done = rum(guest, "up")
            assert f"forwarding 127.0.0.1:{port} to the guest's {guest_port}\n" in done.stdout.decode()
            assert ask(port, b"hello") == b"hello"
            listed = {"bind": "127.0.0.1", "host": port, "guest": guest_port, "auto": False}
            assert status(guest)["ports"] == [listed]
            assert (
                f"\nport         127.0.0.1:{port} to the guest's {guest_port}\n" in rum(guest, "status").stdout.decode()
            )
            forwards.stop(guest.paths)

    def test_it_is_left_alone_until_down(self, tmp_path: Path) -> None:
        port = free_port()
        with serving(echo) as guest_port, forwarding(tmp_path, static(port, guest_port)) as guest:
            pid = pid_of(guest)
            assert os.getsid(pid) == pid
            assert all(path.stat().st_mode & 0o077 == 0 for path in (guest.paths.ports_file, guest.paths.forwards_log))
            assert up(guest) == []
            assert pid_of(guest) == pid, "nothing has changed"
            forwards.stop(guest.paths)
            assert process_of(guest.paths).find() == []
            assert not guest.paths.ports_file.exists()
            assert forwards.forwarded(guest.paths) == []
            with pytest.raises(ConnectionRefusedError):
                dial(port)

    def test_it_keeps_nothing_of_what_started_it(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, static(free_port(), 80)) as guest:
            reading, writing = os.pipe()
            settings = command(guest, "up")
            subprocess.run(**settings, pass_fds=[writing], capture_output=True, timeout=60, check=True)
            os.close(writing)
            assert os.read(reading, 1) == b"", "its writer is gone with `up`"
            os.close(reading)
            assert os.readlink(f"/proc/{pid_of(guest)}/cwd") == "/"
            rum(guest, "down")

    def test_a_killed_one_is_missed_and_restored(self, tmp_path: Path) -> None:
        port = free_port()
        with serving(echo) as guest_port, forwarding(tmp_path, static(port, guest_port)) as guest:
            os.kill(pid_of(guest), signal.SIGKILL)
            wait_until(lambda: not process_of(guest.paths).find(), "it is gone")
            sentence = "the process that forwards the ports of VM demo does not run; `rum up` starts it"
            found = rum(guest, "status")
            assert sentence in notices(found)
            assert b"\nport " not in found.stdout
            assert "the process that forwards the VM's ports has died; it is started again" in up(guest)
            assert ask(port, b"back") == b"back"

    def test_changed_ports_replace_it(self, tmp_path: Path) -> None:
        first, second, third = free_port(), free_port(), free_port()
        with serving(echo) as guest_port, forwarding(tmp_path, static(first, guest_port)) as guest:
            pid = pid_of(guest)
            reconfigure(guest, static(first, 1) + static(second, guest_port) + static(third, guest_port))
            assert "the ports of rum.toml, or rum itself, have changed; they are forwarded anew" in up(guest)
            assert pid_of(guest) != pid
            assert ask(second, b"new") == b"new"
            assert [port["host"] for port in forwards.forwarded(guest.paths)] == [first, second, third]
            reconfigure(guest, "")
            up(guest)
            assert process_of(guest.paths).find() == []

    def test_two_ups_at_once_start_one(self, tmp_path: Path) -> None:
        port = free_port()
        with serving(echo) as guest_port, local_guest(tmp_path, static(port, guest_port)) as guest:
            settings = command(guest, "up")
            both = [subprocess.Popen(**settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
            for process in both:
                _, stderr = process.communicate(timeout=60)
                assert process.returncode == 0, stderr
            assert pid_of(guest)
            assert ask(port, b"one") == b"one"
            rum(guest, "down")

    def test_it_ends_when_the_vm_is_gone(self, tmp_path: Path) -> None:
        with forwarding(tmp_path, static(free_port(), 80)) as guest:
            (guest.directory / "off").touch()
            wait_until(lambda: not process_of(guest.paths).find(), "it has noticed")
            assert not guest.paths.ports_file.exists()

    def test_it_ends_when_its_directory_is_gone(self, tmp_path: Path) -> None:
        with forwarding(tmp_path, static(free_port(), 80)) as guest:
            guest.paths.state.rename(tmp_path / "elsewhere")
            wait_until(lambda: not process_of(guest.paths).find(), "it has noticed")

    def test_nobody_else_can_start_it(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            done = rum(guest, "-c", str(guest.config.path), "forward-ports", "--ports-file=/nowhere")
            assert done.returncode == 2
            assert "forward-ports is what `rum up` starts" in done.stderr.decode()


class TestTakenPorts:
    """They are found before anything is made."""

    def test_who_has_it_is_named(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            with local_guest(tmp_path, static(free_port(), 80) + static(port, 81)) as guest:
                done = rum(guest, "up")
                assert done.returncode == 3
                name = Path("/proc/self/comm").read_text().strip()
                assert notices(done).splitlines() == [
                    f"rum: port {port} of 127.0.0.1 is taken by {name} (process {os.getpid()})",
                    "rum: end it, or choose another `host` port under [[ports]] in rum.toml",
                ]
                assert done.stdout == b"", "no phase has begun"
                assert process_of(guest.paths).find() == []

    def test_another_vm_is_named(self, tmp_path: Path) -> None:
        port = free_port()
        with (
            forwarding(tmp_path / "one", static(port, 80)),
            local_guest(tmp_path / "two", static(port, 80)) as other,
            pytest.raises(HostError, match=rf"port {port} of 127.0.0.1 is taken by the VM state \(process [0-9]+\)"),
        ):
            up(other)

    def test_an_address_that_is_not_this_hosts(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match=r"port 8080 of 192.0.2.1 cannot be bound: Cannot assign requested address"):
            require_port("192.0.2.1", 8080)

    def test_a_change_to_a_taken_one_leaves_the_forwards_as_they_are(self, tmp_path: Path) -> None:
        port = free_port()
        with socket.socket() as taken, serving(echo) as guest_port:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            with forwarding(tmp_path, static(port, guest_port)) as guest:
                reconfigure(guest, static(port, guest_port) + static(taken.getsockname()[1], 81))
                with pytest.raises(HostError, match="is taken by"):
                    up(guest)
                assert ask(port, b"as before") == b"as before"


class TestReboots:
    """The listeners stay."""

    def test_who_connects_meanwhile_waits_for_the_agent(self, tmp_path: Path) -> None:
        port = free_port()
        with serving(echo) as guest_port, forwarding(tmp_path, static(port, guest_port)) as guest:
            with dial(port) as cut:
                cut.sendall(b"x")
                assert cut.recv(1) == b"x"
                guest.stop(kill=True)
                with pytest.raises(ConnectionResetError):
                    cut.recv(1)
            with dial(port) as waiting:
                waiting.sendall(b"patience")
                guest.new_boot()
                guest.start()
                assert waiting.recv(100) == b"patience"

    def test_down_does_not_wait_for_who_waits(self, tmp_path: Path) -> None:
        port = free_port()
        with forwarding(tmp_path, static(port, 80)) as guest:
            guest.stop()
            with dial(port) as waiting:
                waiting.sendall(b"x")
                forwards.stop(guest.paths)
                with pytest.raises(ConnectionResetError):
                    waiting.recv(1)


def table(*ports: int) -> str:
    """What the kernel of the guest lists, as the agent reads it on this machine."""
    address = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), sys.byteorder):08X}"
    return "head\n" + "".join(f"0: {address}:{port:04X} 00000000:0000 0A\n" for port in ports)


def play(guest: LocalGuest, *ports: int) -> None:
    file = guest.root / "proc/net/tcp"
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(table(*ports))
    new.replace(file)


def wait_for_ports(guest: LocalGuest, *wanted: tuple[int, bool]) -> list[dict[str, Any]]:
    """Wait until these guest ports are forwarded, with whether that is automatic."""

    def found() -> list[dict[str, Any]]:
        content = json.loads(guest.paths.ports_file.read_text())
        ports: list[dict[str, Any]] = content["ports"]
        return ports

    wait_until(lambda: sorted((port["guest"], port["auto"]) for port in found()) == sorted(wanted), f"{wanted}")
    return found()


def test_what_is_handed_over_is_inherited_by_nobody() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with socket.create_server(("127.0.0.1", 0)) as listener, ours, theirs:
        hand_out(ours, Wanted((), None), [listener])
        ours.shutdown(socket.SHUT_WR)
        _, [taken] = take_over(theirs)
        with taken:
            assert taken.getsockname() == listener.getsockname()
            assert not taken.get_inheritable()


def test_auto_ports_follow_the_guest(tmp_path: Path) -> None:
    host = free_port()
    with serving(echo) as one, serving(digest) as two:
        toml = static(host, one) + '[auto_ports]\nrange = "1024-65535"\n'
        with forwarding(tmp_path, toml) as guest:
            play(guest, 22, one, two)
            ports = wait_for_ports(guest, (one, False), (two, True))
            # The guest's port is the host's own here, and so taken.
            [auto] = [port for port in ports if port["auto"]]
            assert auto["host"] != two
            assert ask(auto["host"], b"x").decode() == hashlib.sha256(b"x").hexdigest()
            other = free_port()
            play(guest, other)
            [_, auto] = wait_for_ports(guest, (one, False), (other, True))
            assert auto["host"] == other, "where it is free it is the same"
            guest.stop()
            guest.new_boot()
            guest.start()
            play(guest)
            wait_for_ports(guest, (one, False))
            with pytest.raises(ConnectionRefusedError):
                dial(other)


def test_more_connections_than_it_may_have_are_refused(tmp_path: Path) -> None:
    with local_guest(tmp_path, started=False) as guest, bind_port("127.0.0.1", 0) as listener:
        seen = Seen()
        process = Forwarder(LocalGuest(guest.config, guest.paths, guest.directory), Wanted((), None), [], seen)
        process._connections = threading.Semaphore(0)
        with dial(listener.getsockname()[1]) as sock:
            process._accept(listener, 80)
            with pytest.raises(ConnectionResetError):
                sock.recv(1)
        assert seen.notices() == ["more than 400 connections at once: one was refused"]
        close(process)


def close(process: Forwarder) -> None:
    """What it has opened for itself."""
    process._selector.close()
    for end in (process._bell, process._bell_rope):
        end.close()


def test_without_descriptors_it_waits_for_some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float | None] = []
    with local_guest(tmp_path, started=False) as guest, bind_port("127.0.0.1", 0) as listener:
        process = Forwarder(guest, Wanted((), None), [], Seen())
        monkeypatch.setattr(process._ending, "wait", waits.append)
        with dial(listener.getsockname()[1]) as sock:
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, before[1]))
            try:
                process._accept(listener, 80)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, before)
        close(process)
    assert waits == [forwarder.ACCEPT_AGAIN_S]


def test_it_may_have_as_many_descriptors_as_this_host_allows(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        with forwarding(tmp_path, static(free_port(), 80)) as guest:
            [pid] = process_of(guest.paths).find()
            assert resource.prlimit(pid, resource.RLIMIT_NOFILE) == (hard, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_lost_connection_stays_open_while_the_guests_driver_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = Channel.UP
    monkeypatch.setattr(forwarder, "channel_behind", lambda _path: channel)
    with serving(echo) as port, local_guest(tmp_path) as guest:
        vm = LocalGuest(guest.config, guest.paths, guest.directory, the_key=guest.the_key, the_vm_id=guest.the_vm_id)
        process = Forwarder(vm, Wanted((), None), [], Seen())
        with bind_port("127.0.0.1", 0) as listener:
            ours = dial(listener.getsockname()[1])
            theirs, _ = listener.accept()
        carrying = threading.Thread(target=process._carry, args=(theirs, port))
        carrying.start()
        ours.sendall(b"x")
        assert ours.recv(1) == b"x"
        channel = Channel.DOWN
        guest.stop(kill=True)
        carrying.join(20)
        [lost] = process._lost
        assert lost.fileno() >= 0
        channel = Channel.UP
        process._close_lost()
        assert lost.fileno() == -1
        for sock in (ours, theirs, process._bell, process._bell_rope):
            sock.close()
        process._selector.close()
