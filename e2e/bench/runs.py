"""Runs of scripts: many small ones, how soon a line is seen, what the host holds while one prints without an end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from e2e.bench.context import Bench
from e2e.bench.experiment import (
    Experiment,
    Measured,
    Row,
    Series,
    at_most,
    excess_at_most,
    ratio_at_most,
)
from e2e.project import read_if_there

MANY = 200

SPAWNS = """
import os, sys, time
with open("/run/bench-trivial", "w") as file:
    file.write("true\\n")
start = time.perf_counter()
for _ in range(int(sys.argv[1])):
    pid = os.posix_spawn("/bin/sh", ["sh", "/run/bench-trivial"], {})
    assert not os.waitpid(pid, 0)[1]
print(time.perf_counter() - start)
"""

EVERY_S = 0.1
STAMPS = """
import os, sys, time
for _ in range({count}):
    time.sleep({every})
    os.write(1, b"stamp %d\\n" % time.time_ns())
"""
STAMP = re.compile(rb"stamp (\d{19})")
CLOCK_ROUNDS = 200

FLOOD = 1_000_000_000
LINE = "a line of a log that is as long as lines of logs are, more or less, with some words in it"
EARLY_SHARE = 0.1
"""Of the output that reaches the host: what it holds by then is what it holds at all."""
LOOK_EVERY = 1 << 20


def script(name: str, text: str, order: int = 300) -> str:
    """A boot script, which can be run again and again."""
    about = f'name = {json.dumps(name)}\norder = {order}\nrun_on = "boot"\nafter = "local-fs"'
    return f"\n[[provision.script]]\n{about}\nscript = {json.dumps(text)}\n"


@contextlib.contextmanager
def provisioning(bench: Bench, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """`rum provision` of the boot scripts while it runs, its standard output a pipe; it has to end well."""
    command = bench.shared.command(*options, "provision", "--boot")
    with subprocess.Popen(
        command, env=bench.shared.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
            assert process.wait(60) == 0, f"rum provision ended with {process.returncode}"
        finally:
            process.kill()


def pipe_of(process: subprocess.Popen[bytes]) -> IO[bytes]:
    """Its standard output."""
    assert process.stdout
    return process.stdout


def trivial_scripts(bench: Bench) -> Measured:
    """From the run's beginning to its end, as the host sees them; beside it the same shells, only spawned."""
    count = bench.many(MANY, 5)
    taken: dict[str, list[float]] = {"rum": [], "floor": []}
    with bench.configured("".join(script(f"trivial-{number:03}", "true", number + 300) for number in range(count))):
        for _ in range(bench.many(3)):
            with provisioning(bench, "-o", "json") as process:
                seen = {json.loads(line)["type"]: time.perf_counter() for line in pipe_of(process)}
            began, ended = seen["run_started"], seen["result"]
            taken["rum"].append(ended - began)
            done = bench.guest.run(["python3", "-", str(count)], stdin=SPAWNS.encode())
            assert done.ok, done.stderr.decode()
            taken["floor"].append(float(done.text))
    return {
        "rum": Series.of(f"a run of {count} scripts", "s", taken["rum"]),
        "floor": Series.of(f"{count} times posix_spawn of sh, and wait", "s", taken["floor"]),
    }


def latencies(bench: Bench, lines: IO[bytes]) -> list[float]:
    """Milliseconds from each stamp to its arrival here, by the guest's clock and ours, whose difference is measured."""
    before = bench.raw.clock(CLOCK_ROUNDS)
    stamps = [(time.time_ns(), int(found[1])) for line in lines if (found := STAMP.search(line))]
    after = bench.raw.clock(CLOCK_ROUNDS)
    ahead_ms = 1000 * (before.ahead + after.ahead) / 2
    bench.note(f"the guest's clock is ahead by {ahead_ms:.2f} ms, +- {1000 * after.uncertainty:.2f}")
    return [(here - there) / 1e6 + ahead_ms for here, there in stamps]


def live_events(bench: Bench) -> Measured:
    """A script that writes a stamp every now and then: as `rum provision` prints it, and through an ssh pipe."""
    program = STAMPS.format(count=bench.many(100, 3), every=EVERY_S)
    with bench.configured(script("stamps", f"#!/usr/bin/python3\n{program}")), provisioning(bench) as process:
        rum = latencies(bench, pipe_of(process))
    command = bench.ssh.command("python3", "-c", f"'{program}'", master=True)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        ssh = latencies(bench, pipe_of(process))
    return {
        "rum": Series.of("rum provision", "ms", rum),
        "ssh": Series.of("ssh, an open connection", "ms", ssh),
    }


def resident(pid: int, field: str) -> float:
    """MiB that a process holds (`VmRSS`) or has held at most (`VmHWM`), by proc(5)."""
    found = re.search(rf"{field}:\s*(\d+) kB".encode(), read_if_there(Path(f"/proc/{pid}/status")))
    assert found, f"process {pid} is gone"
    return int(found[1]) / 1024


def host_memory(bench: Bench) -> Measured:
    """`rum provision`, whose work is that of `rum up`, while a script prints much more than its run's record takes."""
    size = bench.many(FLOOD, 20_000_000)
    seen: list[tuple[int, float]] = []
    got = looked = 0
    with bench.configured(script("flood", f"yes '{LINE}' | head -c {size}")), provisioning(bench) as process:
        peak = 0.0
        while data := os.read(pipe_of(process).fileno(), 1 << 16):
            got += len(data)
            if got - looked >= LOOK_EVERY:
                looked = got
                peak = resident(process.pid, "VmHWM")
                seen.append((got, resident(process.pid, "VmRSS")))
    early = next((held for so_far, held in seen if so_far >= EARLY_SHARE * got), peak)
    return {
        "peak": Series.of("resident at most", "MiB", [peak]),
        "early": Series.of("resident once a tenth has arrived", "MiB", [early]),
    }


LATENCY = "live log event, from the script's write to the host's print"
MEMORY = "host memory of `rum up` while a script prints 1 GB"

EXPERIMENTS = (
    Experiment(
        "scripts",
        trivial_scripts,
        (
            Row(
                "provision of 200 trivial scripts",
                "200 bare spawns in the guest",
                ratio_at_most(1.5),
                "rum",
                "floor",
                "that a script has passed is on the disk before the next one starts: a line of the ledger and one of"
                " the run's record, each with a sync; and each script has two pipes and a cgroup of its own",
            ),
        ),
    ),
    Experiment(
        "live-events",
        live_events,
        (
            Row(
                LATENCY,
                "an ssh pipe",
                ratio_at_most(1),
                "rum",
                "ssh",
                "a piece is written to the run's record, a file of the guest, and read from there for whoever watches,"
                " so that what is live and what is shown again are the same bytes; ssh passes on what it reads",
            ),
            Row(LATENCY, "", at_most(30), "rum"),
        ),
    ),
    Experiment(
        "host-memory",
        host_memory,
        (
            Row(MEMORY, "", at_most(80), "peak"),
            Row(MEMORY, "itself when a tenth of it has arrived", excess_at_most(4), "peak", "early"),
        ),
    ),
)
