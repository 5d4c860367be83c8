"""Running the tools of a build, with everything they say in a log."""

import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from e2e.images import host
from e2e.images.errors import ImageError

_READ_SIZE = 1 << 16
_LAST_WORDS_SIZE = 4096


@dataclass(frozen=True)
class Tools:
    """Runs commands, as the user or as root of what is being built, and keeps their output in a log."""

    root_prefix: Sequence[str]
    log: Path

    def run(self, *argv: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> None:
        """Run to the end. ImageError: it failed; the sentence has its last words."""
        self._run(argv[0], argv, stdin, env or {})

    def run_as_root(self, *argv: str, env: Mapping[str, str] | None = None) -> None:
        """Like run, by somebody who may give files to any user."""
        self._run(argv[0], (*self.root_prefix, *argv), b"", env or {})

    def _run(self, name: str, argv: Sequence[str], stdin: bytes, env: Mapping[str, str]) -> None:
        with self.log.open("ab") as log, tempfile.TemporaryFile() as given:
            log.write(f"\n+ {' '.join(argv)}\n".encode())
            log.flush()
            given.write(stdin)
            given.seek(0)
            status = _run_logged(argv, given, {**host.environment(), **env}, log)
        if status != 0:
            raise ImageError(
                f"{name} failed (status {status}): {self._last_words()}; everything it said is in {self.log}."
            )

    def _last_words(self) -> str:
        said = self.log.read_bytes()[-_LAST_WORDS_SIZE:].decode(errors="replace").splitlines()
        errors = [line for line in said if line.startswith("E: ")]
        words = errors or [line for line in said if line.strip()]
        return words[-1].strip().rstrip(".")


def _run_logged(argv: Sequence[str], stdin: BinaryIO, env: Mapping[str, str], log: BinaryIO) -> int:
    with subprocess.Popen(
        argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0, env=env, umask=0o022
    ) as process:
        output = cast(BinaryIO, process.stdout)
        try:
            _copy(output, log)
        except BaseException:
            process.kill()
            # The output ends when the last process in there has: only then can its files be removed.
            _copy(output, log)
            raise
    return process.returncode


def _copy(source: BinaryIO, target: BinaryIO) -> None:
    while chunk := source.read(_READ_SIZE):
        target.write(chunk)
        target.flush()
