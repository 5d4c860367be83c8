"""The `rum` command: answers `rum version` at once, and leaves everything else to the command line."""

from __future__ import annotations

import os
import sys

from rum import __version__

EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE: what a program that nobody reads any more ends with."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    try:
        return answer(arguments)
    except BrokenPipeError:
        # Or the interpreter would complain when it flushes standard output on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_BROKEN_PIPE


def answer(arguments: list[str]) -> int:
    """The exit status. Raises BrokenPipeError."""
    if arguments == ["version"]:
        # Whatever parses a command line takes longer than Python takes to start.
        sys.stdout.write(version_line() + "\n")
        sys.stdout.flush()
        return 0
    from rum.host.cli.main import run

    return run(arguments)


def version_line() -> str:
    """What `rum version` prints."""
    return f"rum {__version__} (Python {'.'.join(map(str, sys.version_info[:3]))})"


def prepare_streams() -> None:
    """Text that the locale cannot spell must not end a command; nor must closed standard streams."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - for the process's life
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


if __name__ == "__main__":
    sys.exit(main())
