"""One target under atheris: `python -m tests.fuzz.worker TARGET DIRECTORY [libFuzzer's options]`."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

MISSING = 2


def main(name: str, directory: str, options: list[str]) -> int:
    """Fuzz until libFuzzer ends the process; 2 where atheris is missing."""
    try:
        import atheris
    except ImportError as exc:
        sys.stderr.write(f"atheris cannot be imported, so nothing was fuzzed: {exc}; install the extra 'fuzz'\n")
        return MISSING
    with atheris.instrument_imports(include=["rum"]):
        target = importlib.import_module(f"tests.fuzz.{name}")
    corpus = Path(directory) / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(target.SEEDS):
        (corpus / str(number)).write_bytes(seed)
    atheris.Setup(["fuzz", *options, f"-artifact_prefix={directory}/", str(corpus)], target.check)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
