"""What the agent takes in the guest: memory, size, the time until it has its modules."""

from __future__ import annotations

import json

from e2e.bench.bulk import zeros
from e2e.bench.context import Bench
from e2e.bench.experiment import Experiment, Measured, Row, Series, at_most, ratio_at_most

MUCH = 1_000_000_000

RESIDENT = "sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' /proc/$(systemctl show -P MainPID rum-agent)/status"

AGENT = "/usr/local/bin/rum-agent"
COMPILED = "/run/bench-compiled.zip"
LOADS = """
import sys
sys.path.insert(0, {!r})
from rum.agent.lean import leave_out_openssl
leave_out_openssl()
import rum.agent.__main__
"""
COMPILES = f"""
import sys
sys.path.insert(0, {AGENT!r})
from rum.agent.compiled import compile_all
with open({COMPILED!r}, "wb") as file:
    file.write(compile_all({AGENT!r}))
"""

# Interpreters from the beginning to their end, in turn: with the agent's modules as they are shipped, with the byte
# code that an agent keeps for its next start, and with nothing.
IMPORTS = f"""
import json, os, sys, time
def took(program):
    start = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-I", "-S", "-c", program], {{}})
    assert not os.waitpid(pid, 0)[1]
    return 1000 * (time.perf_counter() - start)
took({COMPILES!r})
programs = [{LOADS.format(AGENT)!r}, {LOADS.format(COMPILED)!r}, "pass"]
rounds = [[took(program) for program in programs] for _ in range(int(sys.argv[1]))]
print(json.dumps(rounds[1:]))
"""


def resident(bench: Bench) -> float:
    """The agent's resident memory in MiB."""
    done = bench.guest.run(["sh", "-c", RESIDENT])
    assert done.ok, done.stderr.decode()
    return int(done.text) / 1024


def memory(bench: Bench) -> Measured:
    """Before and after a command that writes much; to be made before others have had their work of the agent."""
    idle = resident(bench)
    size = bench.many(MUCH, 20_000_000)
    got = 0

    def count(_stream: str, _when: int, data: bytes) -> None:
        nonlocal got
        got += len(data)

    assert bench.guest.run(["sh", "-c", zeros(size)], output=count).ok
    assert got == size, f"{got} of {size} bytes have arrived"
    return {
        "idle": Series.of("resident, idle", "MiB", [idle]),
        "after": Series.of("resident after 1 GB", "MiB", [resident(bench)]),
    }


def start(bench: Bench) -> Measured:
    """The file as the guest has it, and interpreters that load it."""
    size = int(bench.guest.run(["stat", "-Lc", "%s", AGENT]).text)
    done = bench.guest.run(["python3", "-", str(1 + bench.many(10))], stdin=IMPORTS.encode())
    assert done.ok, done.stderr.decode()
    shipped, kept, bare = zip(*json.loads(done.text), strict=True)
    return {
        "size": Series.of("the zipapp", "KiB", [size / 1024]),
        "shipped": Series.of("with the agent's modules as they are shipped", "ms", shipped),
        "kept": Series.of("with the byte code of an earlier start", "ms", kept),
        "bare": Series.of("a bare interpreter", "ms", bare),
    }


IMPORT, BARE = "agent import time, `python3 -I -S`, in the guest", "a bare interpreter"
IMPORT_REASON = (
    "a first start compiles 5 000 lines, which takes two thirds of it, and the byte code is kept for later ones; of "
    "those two thirds are modules of the standard library that an agent needs (subprocess, socket, json, typing), and "
    "json alone makes an interpreter twice as slow; less would take an agent that is not written in Python"
)
MEMORY_REASON = (
    "from kept byte code the agent takes 13.2 MiB; a first start, as here, another that its compiler leaves behind. "
    "Less would take fewer modules of the standard library, and most of it is subprocess, socket, re and typing with "
    "what they import"
)

EXPERIMENTS = (
    Experiment(
        "agent-memory",
        memory,
        (
            Row("agent resident memory, idle", "", at_most(14), "idle", reason=MEMORY_REASON),
            Row("agent resident memory, after 1 GB of output", "", at_most(20), "after"),
        ),
    ),
    Experiment(
        "agent-start",
        start,
        (
            Row("agent zipapp, size", "", at_most(100), "size"),
            Row(f"{IMPORT}, the first start", BARE, ratio_at_most(2.5), "shipped", "bare", IMPORT_REASON),
            Row(f"{IMPORT}, later starts", BARE, ratio_at_most(2.5), "kept", "bare", IMPORT_REASON),
        ),
    ),
)
