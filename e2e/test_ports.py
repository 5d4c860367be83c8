"""Forwarded ports, `rum ssh`, and ssh with `rum ssh-config`, of a guest that has no network card. One VM."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Json, Outcome, Project, poll, read_if_there

WEB, SINK, FLOOD, DEV = 8000, 8001, 8002, 8003

# SINK answers with the hash of what has come up to its end; FLOOD sends as much as the first line says, and the hash.
SERVERS = f"""
import hashlib, socketserver, threading

class Sink(socketserver.BaseRequestHandler):
    def handle(self):
        digest = hashlib.sha256()
        while data := self.request.recv(65536):
            digest.update(data)
        self.request.sendall(digest.hexdigest().encode())

class Flood(socketserver.StreamRequestHandler):
    def handle(self):
        size, block, digest = int(self.rfile.readline()), bytes(range(251)) * 261, hashlib.sha256()
        while size:
            part = block[:size]
            digest.update(part)
            self.wfile.write(part)
            size -= len(part)
        self.wfile.write(digest.digest())

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 100

for port, handler in (({SINK}, Sink), ({FLOOD}, Flood)):
    threading.Thread(target=Server(("127.0.0.1", port), handler).serve_forever).start()
"""

BOOT = f"""
systemd-run -q --unit=web python3 -m http.server --bind 127.0.0.1 --directory /srv {WEB}
systemd-run -q --unit=servers python3 /srv/servers.py
"""


def free_port() -> int:
    """A port of the host that nobody has now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def configuration(hosts: dict[int, int]) -> str:
    """rum.toml for host ports by guest port."""
    ports = "".join(f"[[ports]]\nhost = {host}\nguest = {guest}\n" for guest, host in hosts.items())
    system = f"mkdir -p /srv\ncat > /srv/servers.py <<'END'\n{SERVERS}\nEND\necho hello > /srv/hello"
    return f"""
[network]
mode = "none"
{ports}
[auto_ports]
range = "{DEV}-{DEV + 10}"
[provision.system]
script = '''{system}'''
[provision.boot]
script = '''{BOOT}'''
"""


@pytest.fixture(scope="module")
def hosts() -> dict[int, int]:
    return {guest: free_port() for guest in (WEB, SINK, FLOOD)}


@pytest.fixture(scope="module")
def project(make_project: MakeProject, hosts: dict[int, int]) -> Project:
    made = make_project("ports")
    made.configure(configuration(hosts))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", hosts[SINK]))
        taken.listen()
        refused = made.rum("up")
        assert refused.exit == 3
        assert f"port {hosts[SINK]} of 127.0.0.1 is taken by" in refused.stderr
        assert not made.created, "nothing is made where a port is taken"
    made.up()
    wait_for_servers(made, hosts)
    return made


def fetch(hosts: dict[int, int], within_s: float) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{hosts[WEB]}/hello", timeout=within_s) as answer:
        body: bytes = answer.read()
        return body


def wait_for_servers(project: Project, hosts: dict[int, int]) -> None:
    """Wait until the guest's servers listen, which they do a while after the boot script has started them."""
    for _ in poll(60 * project.patience, "the guest's servers"):
        try:
            fetch(hosts, 30 * project.patience)
            ask_sink(hosts[SINK], b"", 30 * project.patience)
        except OSError:
            continue
        return


def read_all(sock: socket.socket) -> bytes:
    return b"".join(iter(lambda: sock.recv(65536), b""))


def listed(project: Project) -> list[Json]:
    ports: list[Json] = project.status()["ports"]
    return ports


def wait_for_ports(project: Project, wanted: Callable[[list[Json]], bool], what: str) -> list[Json]:
    """What `rum status` lists, once it is what is wanted."""
    for _ in poll(30 * project.patience, what):
        ports = listed(project)
        if wanted(ports):
            break
    return ports


def ask_sink(port: int, data: bytes, within_s: float) -> str:
    """Send, end our direction, and read the answer."""
    with socket.create_connection(("127.0.0.1", port), within_s) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_all(sock).decode()


def test_a_server_in_the_guest_is_reached(project: Project, hosts: dict[int, int]) -> None:
    assert fetch(hosts, 30 * project.patience) == b"hello\n"
    assert [(port["host"], port["guest"]) for port in listed(project) if not port["auto"]] == [
        (host, guest) for guest, host in hosts.items()
    ]


def test_many_at_once_with_the_end_of_one_direction(project: Project, hosts: dict[int, int]) -> None:
    parts = [os.urandom(100_000) for _ in range(20)]
    answers: dict[int, str] = {}

    def ask(number: int) -> None:
        answers[number] = ask_sink(hosts[SINK], parts[number], 60 * project.patience)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60 * project.patience)
    assert answers == {number: hashlib.sha256(part).hexdigest() for number, part in enumerate(parts)}


def test_every_byte_arrives_one_way_and_then_the_other(
    project: Project, hosts: dict[int, int], measured: Measured, request: pytest.FixtureRequest
) -> None:
    megabytes: int = request.config.getoption("--forward-mb")
    limit, block = 60 * project.patience, os.urandom(1_000_000)
    start = time.monotonic()
    sent = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", hosts[SINK]), limit) as sock:
        for _ in range(megabytes):
            sock.sendall(block)
            sent.update(block)
        sock.shutdown(socket.SHUT_WR)
        assert read_all(sock).decode() == sent.hexdigest()
    there = time.monotonic()
    got = hashlib.sha256()
    with socket.create_connection(("127.0.0.1", hosts[FLOOD]), limit) as sock:
        sock.sendall(b"%d\n" % (megabytes * 1_000_000))
        missing = megabytes * 1_000_000
        while missing:
            data = sock.recv(min(missing, 65536))
            assert data, f"{missing} bytes have not come"
            got.update(data)
            missing -= len(data)
        assert read_all(sock) == got.digest()
    back = time.monotonic()
    rates = f"{megabytes / (there - start):.0f} MB/s there, {megabytes / (back - there):.0f} MB/s back"
    measured(f"a forward moved {megabytes} MB each way, {rates}")


def test_ssh_is_known_has_its_status_and_moves_files(project: Project, tmp_path: Path) -> None:
    done = project.rum("ssh", "echo out; echo err >&2; exit 7")
    assert (done.exit, done.stdout, done.stderr) == (7, "out\n", "err\n")
    config = tmp_path / "config"
    config.write_text(project.rum("ssh-config").stdout)
    given, got = tmp_path / "given", tmp_path / "got"
    given.write_bytes(os.urandom(1_000_000))
    name = config.read_text().split()[1]
    run_ssh(project, "scp", "-q", "-F", str(config), str(given), f"{name}:given")
    run_ssh(project, "scp", "-q", "-F", str(config), f"{name}:given", str(got))
    assert got.read_bytes() == given.read_bytes()
    assert run_ssh(project, "ssh", "-F", str(config), name, "whoami") == "rum\n"


def run_ssh(project: Project, *command: str) -> str:
    """What a command of OpenSSH prints; it must succeed and complain about nothing."""
    done = subprocess.run(
        command,
        env=project.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60 * project.patience,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), f"{command} ended with {done.returncode}: {done.stderr}"
    return done.stdout


def test_auto_ports_follow_what_listens(project: Project) -> None:
    project.guest(f"systemd-run -q --unit=dev python3 -m http.server --directory /srv {DEV}")
    ports = wait_for_ports(project, lambda ports: any(port["auto"] for port in ports), "the new server's port")
    [auto] = [port for port in ports if port["auto"]]
    assert auto["guest"] == DEV
    assert fetch({WEB: auto["host"]}, 30 * project.patience) == b"hello\n"
    project.guest("systemctl stop dev")
    wait_for_ports(project, lambda ports: not any(port["auto"] for port in ports), "the end of it")


def forwarder(project: Project) -> int:
    """The pid of the process that forwards the ports."""
    mark = str(project.state_dir / "ports.json").encode()
    [pid] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if mark in (words := read_if_there(path)) and b"forward-ports" in words
    ]
    return pid


def test_a_reboot_keeps_the_listeners_and_a_kill_is_said_and_mended(project: Project, hosts: dict[int, int]) -> None:
    pid, boot = forwarder(project), project.boot_id()
    project.rum("exec", "--", "systemctl", "reboot")
    answers: list[Outcome] = []
    for _ in poll(120 * project.patience, "another boot", answers):
        answers.append(project.rum("exec", "--", "cat", "/proc/sys/kernel/random/boot_id"))
        if answers[-1].exit == 0 and answers[-1].stdout.strip() != boot:
            break
    wait_for_servers(project, hosts)
    assert forwarder(project) == pid
    os.kill(pid, signal.SIGKILL)
    for _ in poll(10, "its end"):
        # A zombie has none.
        if not read_if_there(Path(f"/proc/{pid}/cmdline")):
            break
    assert "does not run; `rum up` starts it" in project.rum("status").stderr
    assert any("has died; it is started again" in event.get("text", "") for event in project.up().events)
    assert fetch(hosts, 30 * project.patience) == b"hello\n"
    assert project.rum("down").exit == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", hosts[WEB]), 5)
