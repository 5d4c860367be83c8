"""The `rum` command: answers `rum version` at once, and leaves everything else to the command line."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from rum import __version__

EXIT_BROKEN_PIPE = 141
"""128 + SIGPIPE: what a program that nobody reads any more ends with."""

UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""A disk that is full, a quota or limit that is reached, a terminal that is gone."""

EXIT_INTERRUPTED = 130
"""128 + SIGINT, as rum.host.errors has it."""

EXIT_HOST = 3
"""This host cannot do it (rum.host.errors.HostError, which is not loaded for this)."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; its exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    prepare_streams()
    try:
        return answer(arguments)
    except BrokenPipeError:
        abandon_streams()
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        # Once more, while the first one was being told.
        return EXIT_INTERRUPTED
    except OSError as exc:
        return end_by_output(exc)


def answer(arguments: list[str]) -> int:
    """The exit status. Raises BrokenPipeError."""
    if arguments == ["version"]:
        # Whatever parses a command line takes longer than Python takes to start.
        sys.stdout.write(version_line() + "\n")
        sys.stdout.flush()
        return 0
    if "_RUM_COMPLETE" in os.environ:
        from rum.host.cli.completion import complete

        return complete()
    return command_line(arguments)


def command_line(arguments: list[str]) -> int:
    """Everything else. Signals wait until what tells of them is loaded: it is no time for a traceback, and no crash."""
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT))
    from rum.host.cli.main import run

    return run(arguments, before)


def version_line() -> str:
    """What `rum version` prints."""
    return f"rum {__version__} (Python {'.'.join(map(str, sys.version_info[:3]))})"


def prepare_streams() -> None:
    """Text that the locale cannot spell must not end a command; nor must standard streams that are closed.

    The next file or socket that is opened would take the number of a closed one, and be read and written as it. For
    what we say, one that is open for reading only is as good as closed. Reading one that was closed stays an error: it
    is no empty file.
    """
    for number in range(3):
        try:
            usable = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY or number == 0
        except OSError:
            usable = False
        if not usable:
            replace_by_nothing(number)
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the process's life
        elif mode == "w" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
            if not os.get_blocking(stream.fileno()):
                from rum.host.patient_stream import patient

                setattr(sys, name, patient(stream))


def replace_by_nothing(number: int) -> None:
    """Let a standard stream be /dev/null, for what we start as well; it can be written to only."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.set_inheritable(null, null == number)
    if null != number:
        os.dup2(null, number)
        os.close(null)


def is_of_output(exc: OSError) -> bool:
    """Whether it is our streams that cannot be written: errors of files have been given a name or a sentence."""
    return exc.filename is None and exc.errno in UNWRITABLE


def end_by_output(exc: OSError, status: int = EXIT_HOST) -> int:
    """What cannot be printed is said on standard error, as far as that takes it. Raises any other error anew."""
    if not is_of_output(exc):
        raise exc
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    try:
        sys.stderr.write(f"rum: standard output cannot be written: {exc.strerror}\n")
        sys.stderr.flush()
    except OSError:
        abandon_streams()
    return status


def abandon_streams() -> None:
    """Nobody reads us any more, and the interpreter would complain when it flushes what is left on its way out."""
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(null, number)


if __name__ == "__main__":
    sys.exit(main())
