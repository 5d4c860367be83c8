"""How a run of the machine ends: with the job's status, or with a sentence. A program plays QEMU."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from e2e.nested.errors import NestedError
from e2e.nested.machine import Machine
from tests.unit.agent.harness import is_running

PATIENCE_S = 30


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def plays(program: str) -> list[str]:
    return ["sh", "-c", program]


def archive(machine: Machine) -> None:
    """What the machine has written before its status."""
    with tarfile.open(machine.results / "artifacts.tar", "w") as tar:
        member = tarfile.TarInfo("artifacts/junit.xml")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"<a/>"))


@pytest.mark.parametrize(("said", "status"), [("0", 0), ("1", 1), ("4", 4), ("KILL", 137), ("TERM", 143)])
def test_the_jobs_status_is_the_result_and_its_files_are_there(machine: Machine, said: str, status: int) -> None:
    archive(machine)
    assert machine.run(plays(f"echo {said} > {machine.results}/status"), PATIENCE_S) == status
    assert (machine.results / "artifacts" / "junit.xml").read_text() == "<a/>"


@pytest.mark.parametrize("program", ["exit 1", "kill -9 $$", "exit 0"])
def test_a_machine_that_dies_is_named_with_its_last_words(machine: Machine, program: str) -> None:
    machine.console.write_text("".join(f"line {n}\n" for n in range(30)) + "Kernel panic - not syncing\n")
    with pytest.raises(NestedError, match=r"ended before the tests did") as raised:
        machine.run(plays(program), PATIENCE_S)
    assert str(raised.value).endswith("line 29\n  Kernel panic - not syncing")
    assert "line 3\n" not in str(raised.value)


def test_a_qemu_that_does_not_even_start_is_named(machine: Machine) -> None:
    with pytest.raises(NestedError, match="ended before the tests did"):
        machine.run(["setpriv", "--pdeathsig", "KILL", "no-such-program"], PATIENCE_S)


def test_a_machine_that_hangs_is_switched_off(machine: Machine) -> None:
    with pytest.raises(NestedError, match=r"did not end within 0 minutes \(--within\)"):
        machine.run(plays(f"echo $$ > {machine.results}/pid; exec sleep 1000"), 1)
    assert not is_running(int((machine.results / "pid").read_text()))


RUNNER = """
import sys
from pathlib import Path
from e2e.nested.machine import Machine
results = Path(sys.argv[1])
Machine(results).run(["setpriv", "--pdeathsig", "KILL", "sh", "-c", f"echo $$ > {results}/pid; exec sleep 1000"], 1000)
"""


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_it_goes_with_who_started_it(machine: Machine, end: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", RUNNER, str(machine.results)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as runner:
        pid = int(appears(machine.results / "pid"))
        runner.send_signal(end)
        runner.wait(timeout=PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    while is_running(pid):
        assert time.monotonic() < deadline, "it was left running"
        time.sleep(0.02)


def appears(path: Path) -> str:
    """The file's text, once there is one."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.02)
    return path.read_text()


def test_the_command_line_is_one_that_qemu_takes(tmp_path: Path) -> None:
    """QEMU makes the processors and every device, and ends because it is asked to."""
    machine = Machine(tmp_path, processors=3, memory_mb=64)
    image, disk = tmp_path / "image.qcow2", tmp_path / "work.raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    disk.write_bytes(bytes(1 << 20))
    command = [*machine.command(image, disk), "-S", "-monitor", "unix:monitor.sock,server=on,wait=off"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as qemu:
        deadline = time.monotonic() + PATIENCE_S
        while not (tmp_path / "monitor.sock").exists() and qemu.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        ended = qemu.poll()
        qemu.kill()
        assert qemu.stderr is not None
        said = qemu.stderr.read()
    assert ended is None, said
    assert machine.console.exists()
