"""Much data: through exec, through a forwarded port, beside ssh and what the transport does by itself."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Sequence

from e2e.bench.context import GUEST_PORT, Bench
from e2e.bench.experiment import Experiment, Measured, Row, Series, ratio_at_least
from e2e.project import poll

SIZE = 256_000_000
QUICK_SIZE = 8_000_000
SSH_SHARE = 4
"""ssh gets a quarter of it: its rate does not hang on the amount, and it takes so long."""
WITHIN_S = 120.0

# It sends what it is asked for in 8 bytes, in pieces as large as a program would send by itself.
SERVER = f"""
import socket, struct
BLOCK = bytes(65536)
listener = socket.create_server(("127.0.0.1", {GUEST_PORT}))
while True:
    client, _ = listener.accept()
    with client:
        left, = struct.unpack("!Q", client.recv(8, socket.MSG_WAITALL))
        while left:
            left -= client.send(BLOCK[:left])
        client.recv(1)
"""


def zeros(size: int) -> str:
    """A command line for the guest's shell that writes so many bytes."""
    return f"head -c {size} /dev/zero"


def rate(size: int, seconds: float) -> float:
    """MB/s."""
    return size / 1e6 / seconds


def drained(command: Sequence[str], size: int, environment: dict[str, str] | None = None) -> float:
    """MB/s of a command whose standard output is read and thrown away."""
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            got = 0
            while data := os.read(process.stdout.fileno(), 1 << 16):
                got += len(data)
        finally:
            process.kill()
    assert got == size, f"{got} of {size} bytes have arrived"
    return rate(size, time.perf_counter() - start)


def exec_output(bench: Bench) -> Measured:
    """The same command in the guest by both, into a pipe; the transport's own beside them."""
    size = QUICK_SIZE if bench.quick else SIZE
    rum = bench.shared.command("exec", "--", "sh", "-c", zeros(size))
    ssh = bench.ssh.command(zeros(size // SSH_SHARE), master=True)
    taken: dict[str, list[float]] = {"rum": [], "floor": [], "ssh": []}
    for _ in range(bench.many(3)):
        taken["floor"].append(rate(size, bench.raw.receive(size)))
        taken["rum"].append(drained(rum, size, bench.shared.environment))
        taken["ssh"].append(drained(ssh, size // SSH_SHARE))
    labels = {"rum": "rum exec", "floor": "a bare sender over vsock", "ssh": "ssh"}
    return {name: Series.of(labels[name], "MB/s", values) for name, values in taken.items()}


def through_port(bench: Bench, size: int) -> float:
    """MB/s from a server in the guest, by one connection to a forwarded port."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", bench.port), WITHIN_S) as sock:
        sock.sendall(size.to_bytes(8, "big"))
        left = size
        while left:
            got = len(sock.recv(min(1 << 16, left)))
            assert got, f"the connection ended {left} bytes too early"
            left -= got
    return rate(size, time.perf_counter() - start)


def forwarded(bench: Bench) -> Measured:
    """A server that listens on the guest's loopback."""
    size = QUICK_SIZE if bench.quick else SIZE
    started = bench.guest.run(["systemd-run", "--quiet", "--collect", "--unit=bench-server", "python3", "-c", SERVER])
    assert started.ok, started.stderr.decode()
    try:
        for _ in poll(WITHIN_S, "the server in the guest"):
            with contextlib.suppress(AssertionError, OSError):
                through_port(bench, 1)
                break
        taken: dict[str, list[float]] = {"rum": [], "floor": []}
        for _ in range(bench.many(5)):
            taken["floor"].append(rate(size, bench.raw.receive(size)))
            taken["rum"].append(through_port(bench, size))
    finally:
        bench.guest.run(["systemctl", "stop", "bench-server"])
    return {
        "rum": Series.of("a forwarded port", "MB/s", taken["rum"]),
        "floor": Series.of("a bare sender over vsock", "MB/s", taken["floor"]),
    }


EXEC = "`rum exec` stdout throughput, 256 MB"

EXEC_REASON = (
    "with an emulated CPU the agent takes 2 ms of it for a piece of 64 KiB, where reading the pipe alone takes 0.3 ms"
    " and a bare sender's four sends 0.55 ms. Half of it is the emulator finding its way again after each change from"
    " the command to the agent and back, which empties its TLB and its table of translated code (perf record of QEMU);"
    " on this host's own CPU a piece takes 0.04 ms. Larger pipes make such changes rarer, but would mix up the order of"
    " stdout and stderr"
)

EXPERIMENTS = (
    Experiment(
        "exec-output",
        exec_output,
        (
            Row(EXEC, "raw vsock bulk copy (floor)", ratio_at_least(0.7), "rum", "floor", EXEC_REASON),
            Row(EXEC, "ssh", ratio_at_least(6), "rum", "ssh", EXEC_REASON),
        ),
    ),
    Experiment(
        "forward",
        forwarded,
        (
            Row(
                "port forward throughput, one connection",
                "raw vsock (floor)",
                ratio_at_least(0.7),
                "rum",
                "floor",
                "a server sends through the guest's loopback, and the agent receives, frames and sends; the floor "
                "only sends. Streams without frames, spliced by the kernel (splice(2)), would need a "
                "vhost-device-vsock that passes on the end of one direction",
            ),
        ),
    ),
)
