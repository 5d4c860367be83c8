"""The emulated machine: QEMU without KVM, whose processor has AMD's virtualization for the KVM inside."""

import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.images import host
from e2e.nested.errors import NestedError
from e2e.nested.recipe import ARTIFACTS_PORT, OUTPUT_PORT, STATUS_PORT

_QEMU = "qemu-system-x86_64"

# Everything that can be emulated, AMD's virtualization (svm, npt) being part of it. But with five levels of page tables
# in the machine and in the VM each miss of the TLB in the VM would cost 35 accesses to memory instead of 24. And on a
# processor that says it is quick at it, memory is copied with one instruction, which QEMU emulates byte by byte: 64 KiB
# take eight times as long (QEMU 7.2).
_PROCESSOR = "max,la57=off,erms=off,fsrm=off"
_END_S = 10
_TAIL_LINES = 15


@dataclass(frozen=True)
class Machine:
    """One run of the machine; what comes out of it lies in `results`."""

    results: Path
    processors: int = 2
    memory_mb: int = 5 * 1024

    @property
    def console(self) -> Path:
        """What its kernel and its services said."""
        return self.results / "console.log"

    def command(self, image: Path, work_disk: Path) -> list[str]:
        """The command line of QEMU; the image is left as it is, the work disk is written to."""
        return [
            # Whatever becomes of us, it goes with us.
            *("setpriv", "--pdeathsig", "KILL", _QEMU),
            *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-machine", "q35"),
            *("-accel", "tcg,thread=multi", "-cpu", _PROCESSOR, "-smp", str(self.processors)),
            *("-m", f"{self.memory_mb}M"),
            *("-drive", f"file={image},format=qcow2,if=virtio,snapshot=on"),
            *("-drive", f"file={work_disk},format=raw,if=virtio,cache=unsafe"),
            *("-device", "virtio-rng-pci", "-device", "virtio-serial-pci"),
            *("-chardev", f"file,id=console,path={self.console}", "-serial", "chardev:console"),
            *("-chardev", "stdio,id=output,signal=off", *_port("output", OUTPUT_PORT)),
            *("-chardev", f"file,id=status,path={self._status}", *_port("status", STATUS_PORT)),
            *("-chardev", f"file,id=artifacts,path={self._artifacts}", *_port("artifacts", ARTIFACTS_PORT)),
        ]

    def run(self, command: Sequence[str], within_s: float) -> int:
        """The exit status of the job, whose output goes to our own. NestedError: the machine or the time has ended."""
        # The end of its input would be the end of the output port, too: both are QEMU's stdio.
        with subprocess.Popen(command, stdin=subprocess.PIPE, env=host.environment()) as process:
            try:
                process.wait(timeout=within_s)
            except subprocess.TimeoutExpired:
                raise NestedError(
                    f"The tests did not end within {within_s / 60:.0f} minutes (--within), so the machine was switched"
                    f" off; its console is {self.console}."
                ) from None
            finally:
                _end(process)
        return self._ended(process.returncode)

    def _ended(self, qemu_status: int) -> int:
        status = self._status.read_text().strip() if self._status.exists() else ""
        if not status:
            raise NestedError(
                f"The machine ended before the tests did (QEMU's exit status: {qemu_status}); its console,"
                f" {self.console}, ends with:\n{self._last_words()}"
            )
        subprocess.run(["tar", "-C", str(self.results), "-xf", str(self._artifacts)], check=False)
        self._artifacts.unlink()
        # Of a job that a signal has killed systemd tells the signal's name.
        return int(status) if status.isdigit() else 128 + signal.Signals[f"SIG{status}"]

    def _last_words(self) -> str:
        said = self.console.read_text(errors="replace") if self.console.exists() else ""
        return "\n".join(f"  {line}" for line in said.splitlines()[-_TAIL_LINES:])

    @property
    def _status(self) -> Path:
        return self.results / "status"

    @property
    def _artifacts(self) -> Path:
        return self.results / "artifacts.tar"


def _port(chardev: str, name: str) -> tuple[str, str]:
    return "-device", f"virtserialport,chardev={chardev},name={name}"


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=_END_S)
        except subprocess.TimeoutExpired:
            process.kill()
