"""The outermost place: every way a command can end becomes a sentence and an exit status."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import traceback
from collections.abc import Iterable, Iterator, Sequence

import click

from rum.host.__main__ import abandon_streams, end_by_output, is_of_output
from rum.host.cli.options import Options
from rum.host.cli.root import cli
from rum.host.errors import ConfigError, RumError
from rum.host.interrupts import SignalExit, leaving_on_signals
from rum.host.leaving import IN_THE_GUEST, outcome_of_signal
from rum.host.show.render import Ending, Verbosity

EXIT_RUM_FAILED = 125

WITH_FOREIGN_OPTIONS = ("exec", "ssh")
"""Once they are known, so are rum's own options: `-o json` may be one of what they run."""

LAST_WORDS_S = 2.0
"""For a reader of our output that pauses: whoever wants our end does not wait for it."""

ROUTINELY_ENDED = ("proxy", "forward-ports")
"""Helpers that nobody waits for a word of: ssh's connection gets the Ctrl+C that is meant for ssh, too."""


def run(arguments: list[str], mask: Iterable[int] = ()) -> int:
    """Run the command line and show how it ended; only BrokenPipeError and a second Ctrl+C get out.

    `mask`: the signals that are blocked from then on; others may have come already, and wait.
    """
    with leaving_on_signals():
        return run_command(arguments, mask)


def run_command(arguments: list[str], mask: Iterable[int]) -> int:
    """The same, while signals are taken care of."""
    options = Options()
    try:
        return lead_to_an_end(arguments, options, mask)
    except OSError as exc:
        if options.command not in IN_THE_GUEST:
            raise
        return end_by_output(exc, EXIT_RUM_FAILED)
    finally:
        options.close()


def lead_to_an_end(arguments: list[str], options: Options, mask: Iterable[int]) -> int:
    """Run the command line; whatever exception ends it is shown."""
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        # Not cli.main(): it would take broken pipes and Ctrl+C for its own.
        with cli.make_context("rum", arguments, obj=options) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as exc:
        return exc.exit_code
    except click.UsageError as exc:
        return end_by_usage(options, arguments, exc)
    except RumError as exc:
        status = EXIT_RUM_FAILED if options.command in IN_THE_GUEST else exc.exit_code
        return end(options, Ending.of_error(options.command, exc, status))
    except (KeyboardInterrupt, click.Abort):
        return end_by_signal(options, arguments, signal.SIGINT)
    except SignalExit as exc:
        return end_by_signal(options, arguments, exc.number)
    except OSError as exc:
        if isinstance(exc, BrokenPipeError) or is_of_output(exc):
            raise
        return end_by_bug(options, exc)
    except Exception as exc:  # noqa: BLE001 - the outermost place: the user gets a sentence, not a traceback
        number = signal_behind(exc)
        return end_by_bug(options, exc) if number is None else end_by_signal(options, arguments, number)


def end(options: Options, ending: Ending) -> int:
    """Show the ending; its exit status."""
    options.renderer.end(ending)
    return ending.exit


def end_by_signal(options: Options, arguments: Sequence[str], number: int) -> int:
    """Somebody has asked for the end; where the terminal has gone with them, nobody can be told."""
    heed_json(options, arguments)
    ending = Ending.of_outcome(options.command, outcome_of_signal(options.command, number))
    if options.command in ROUTINELY_ENDED:
        return ending.exit
    try:
        with ending_all_the_same(ending.exit):
            return end(options, ending)
    except OSError:
        abandon_streams()
        return ending.exit


@contextlib.contextmanager
def ending_all_the_same(status: int) -> Iterator[None]:
    """End this process with the status where nobody reads the last words that the block says."""
    previous = signal.signal(signal.SIGALRM, lambda *_: os._exit(status))
    signal.setitimer(signal.ITIMER_REAL, LAST_WORDS_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def signal_behind(exc: BaseException) -> int | None:
    """The signal that an exception stands for: before Python 3.12 __set_name__ makes a RuntimeError of what ends it."""
    cause = exc.__cause__
    if isinstance(cause, SignalExit):
        return cause.number
    return signal.SIGINT if isinstance(cause, KeyboardInterrupt) else None


def end_by_usage(options: Options, arguments: Sequence[str], exc: click.UsageError) -> int:
    """A command line that makes no sense; options on it may not have been looked at yet."""
    heed_json(options, arguments)
    command = exc.ctx.command_path if exc.ctx else "rum"
    options.command = options.command or command.removeprefix("rum").strip()
    error = ConfigError(as_ours(exc.format_message()), hint=f"see `{command} --help`")
    return end(options, Ending.of_error(options.command, error))


def as_ours(text: str) -> str:
    """What click says, written as rum writes.

    >>> as_ours("No such option '--verbos'. Did you mean '--verbose'?")
    "no such option '--verbos'; did you mean '--verbose'?"
    """
    return (text[:1].lower() + text[1:]).removesuffix(".").replace(". Did", "; did")


def heed_json(options: Options, arguments: Sequence[str]) -> None:
    """The end is told in JSON where that was asked for, also where the command line was not looked at any more."""
    if options.command not in WITH_FOREIGN_OPTIONS and wants_json(arguments):
        options.output = "json"


def wants_json(arguments: Sequence[str]) -> bool:
    """Whether `-o json` stands on the command line, before the arguments of a command for the guest."""
    own = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    pairs = itertools.pairwise(own)
    return any(pair in {("-o", "json"), ("--output", "json")} for pair in pairs) or bool(
        {"-ojson", "--output=json"} & {*own}
    )


def end_by_bug(options: Options, exc: Exception) -> int:
    """What should never happen; the traceback is for those who ask for it."""
    options.close()
    if os.environ.get("RUM_DEBUG") == "1" or options.verbosity is Verbosity.VERBOSE:
        traceback.print_exception(exc)
    error = RumError(
        f"this is a bug in rum: {type(exc).__name__}: {exc}",
        hint="run the same command with RUM_DEBUG=1 for a traceback, and report it",
    )
    return end(options, Ending.of_error(options.command, error, EXIT_RUM_FAILED))
