"""The runs that the guest keeps, as its agent lists them."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from rum.host.channel.checked import check_message
from rum.host.channel.client import CALL_PATIENCE_S, AgentConnection, AgentError, LostError, is_result
from rum.host.deadlines import Check, Deadline
from rum.host.errors import GuestError
from rum.host.runs.runreader import RunReader
from rum.protocol import ErrorCode, Message, Received
from rum.protocol.summary import RunSummary

FIELDS = vars(RunSummary("")).keys()


def runs_in_guest(reader: RunReader) -> list[RunSummary]:
    """Oldest first. Raises GuestError, also for an agent that is too old to tell."""
    with reader.connect() as connection:
        return listed(connection, Deadline(CALL_PATIENCE_S))


def listed(connection: AgentConnection, deadline: Deadline) -> list[RunSummary]:
    """What an agent answers that has just welcomed us. Raises GuestError."""
    found: list[RunSummary] = []
    for received in answers(connection, follow=False, deadline=deadline):
        if is_result(received):
            connection.acknowledge()
        else:
            found = summaries_of(received)
    return found


def changes(reader: RunReader, check: Check) -> Generator[list[RunSummary]]:
    """The list now, and again whenever a run has begun or ended. Raises LostError at its end, other GuestErrors.

    `check` is called every half a second.
    """
    connection = reader.connect()
    try:
        yield from map(summaries_of, answers(connection, follow=True, check=check))
    except LostError:
        reader.keep_lost(connection)
        raise
    except BaseException:
        connection.close()
        raise


def answers(
    connection: AgentConnection, *, follow: bool, check: Check | None = None, deadline: Deadline | None = None
) -> Iterator[Received]:
    """What the agent sends. Raises GuestError."""
    try:
        connection.send_request("runs", {"follow": follow})
        yield from connection.events(check or (lambda: None), deadline)
    except AgentError as exc:
        if exc.agent_code != ErrorCode.UNKNOWN_METHOD.value:
            raise
        raise GuestError(
            "the agent in the guest is older than this rum, and cannot list its runs",
            hint="`rum up` replaces the agent",
        ) from exc


def summaries_of(received: Received) -> list[RunSummary]:
    """The runs in a `runs` event. Raises BrokenProtocolError."""
    message: Message = received.message or {}
    check_message("runs", message)
    return [RunSummary(**{key: run[key] for key in FIELDS & run.keys()}) for run in message["runs"]]
