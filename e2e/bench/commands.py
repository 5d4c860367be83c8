"""One small command: by rum's library and by its command line, beside ssh, qemu-guest-agent and the guest itself."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment, Measured, Row, Series, ratio_at_most, times_as_fast

SPAWNS = """
import json, os, sys, time
took = []
for _ in range(int(sys.argv[1])):
    start = time.perf_counter()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    _, status = os.waitpid(pid, 0)
    took.append(time.perf_counter() - start)
    assert not status
print(json.dumps(took))
"""
"""The least that starting a program there costs: posix_spawn(3), which shares memory until it executes, and wait."""

SPAWNS_EACH = 4


def timed(what: Callable[[], object]) -> float:
    """Milliseconds."""
    start = time.perf_counter()
    what()
    return 1000 * (time.perf_counter() - start)


def spawned(bench: Bench, times: int) -> list[float]:
    """Milliseconds that each of so many bare spawns takes in the guest, by its own clock."""
    done = bench.guest.run(["python3", "-", str(times)], stdin=SPAWNS.encode())
    assert done.ok, done.stderr.decode()
    return [1000 * seconds for seconds in json.loads(done.text)]


def round_trips(bench: Bench) -> Measured:
    """`true` in turn by every way, so that whatever else this host does meets all of them."""
    ways: dict[str, tuple[str, Callable[[], object]]] = {
        "rum": ("rum's library", lambda: bench.guest.run(["true"])),
        "master": ("ssh, ControlMaster", lambda: bench.ssh.run("true", master=True)),
        "ssh": ("ssh, a new connection", lambda: bench.ssh.run("true")),
        "guest_agent": ("qemu-guest-agent", lambda: bench.guest_agent.run(["true"])),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    floor: list[float] = []
    for _, once in ways.values():
        once()
    for _ in range(bench.many(40)):
        for name, (_, once) in ways.items():
            taken[name].append(timed(once))
        floor += spawned(bench, SPAWNS_EACH)
    series = {name: Series.of(label, "ms", taken[name]) for name, (label, _) in ways.items()}
    return {**series, "floor": Series.of("posix_spawn and wait in the guest", "ms", floor)}


def whole_commands(bench: Bench) -> Measured:
    """What somebody at a prompt waits for."""
    command = bench.shared.command("exec", "true")

    def rum() -> None:
        subprocess.run(
            command, env=bench.shared.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=True
        )

    taken: dict[str, list[float]] = {"rum": [], "ssh": []}
    rum()
    bench.ssh.run("true")
    for _ in range(bench.many(15)):
        taken["rum"].append(timed(rum))
        taken["ssh"].append(timed(lambda: bench.ssh.run("true")))
    return {
        "rum": Series.of("rum exec true", "ms", taken["rum"]),
        "ssh": Series.of("ssh host true", "ms", taken["ssh"]),
    }


API = "Python API, round trip of `true`"

EXPERIMENTS = (
    Experiment(
        "round-trip",
        round_trips,
        (
            Row(
                API,
                "the same spawned in the guest (floor)",
                ratio_at_most(1.5),
                "rum",
                "floor",
                "each command has a connection of its own, whose handshake takes three round trips, 15 ms of an "
                "emulated guest; it would take a protocol whose connections carry more than one request",
            ),
            Row(API, "ssh with ControlMaster", times_as_fast(1), "rum", "master"),
            Row(API, "a new ssh connection", times_as_fast(15), "rum", "ssh"),
            Row(API, "qemu-guest-agent", times_as_fast(1), "rum", "guest_agent"),
        ),
    ),
    Experiment(
        "command",
        whole_commands,
        (Row("`rum exec true`, the whole command", "`ssh host true`", times_as_fast(4), "rum", "ssh"),),
    ),
)
