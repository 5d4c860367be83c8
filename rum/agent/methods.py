"""The methods a client can call: parameters in, calls of the daemon, answers out."""

from __future__ import annotations

import sys
from typing import Callable

from rum.agent.cache import CachedScript, ScriptCache
from rum.agent.connection import Connection
from rum.agent.daemon import Daemon
from rum.agent.exec import Exec, ExecRequest
from rum.agent.files import FileReader, FileWriter, WriteRequest
from rum.agent.forward import Forward
from rum.agent.large_message import LargeMessage
from rum.agent.ports import PortFollower, listening
from rum.agent.run import Run
from rum.agent.runs import RunFollower
from rum.protocol.errors import ErrorCode, RequestError
from rum.protocol.fields import get_bool, get_int, get_list, get_object, get_optional_str, get_str
from rum.protocol.limits import EXEC_MAX, LARGE_MESSAGE
from rum.protocol.messages import Message
from rum.protocol.scripts import Mode, check_list, get_choice, script_from_wire


def serve_request(daemon: Daemon, connection: Connection, request: Message) -> None:
    """Answer the client's one request, with an error where it cannot be served."""
    try:
        method = METHODS.get(get_str(request, "method"))
        if method is None:
            raise RequestError(ErrorCode.UNKNOWN_METHOD, f"this agent has no method {request['method'][:80]!r}")
        if connection.large and method not in (provision, execute):
            raise RequestError(ErrorCode.BAD_REQUEST, f"a {request['method']} request is at most {LARGE_MESSAGE} bytes")
        method(daemon, connection, get_object(request, "params"))
    except ValueError as exc:
        connection.refuse(RequestError(ErrorCode.BAD_REQUEST, str(exc)))
    except RequestError as exc:
        connection.refuse(exc)
    except OSError as exc:
        connection.refuse(RequestError(ErrorCode.INTERNAL, f"the guest cannot serve this: {exc.strerror or exc}"))


def status(daemon: Daemon, connection: Connection, _params: Message) -> None:
    """What the agent is, what it knows, what it does."""
    scripts = [
        {
            "name": script.name,
            "order": script.order,
            "run_on": script.run_on.value,
            "sha256": script.sha256,
            "last": daemon.ledger.last(script.name),
        }
        for script in daemon.cache.scripts
    ]
    connection.result(
        {
            "agent_version": daemon.version,
            "python": sys.version.split()[0],
            "boot_id": daemon.boot_id,
            "vm_id": daemon.settings.vm_id,
            "uptime_s": daemon.settings.uptime_s(),
            "system_provisioned": daemon.ledger.system_provisioned,
            "run": daemon.run.position if daemon.run else None,
            "scripts": scripts,
        }
    )


def provision(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Run what has to run of the scripts."""
    items = get_list(params, "scripts")
    check_list(items)
    daemon.settle()
    mode = get_choice(Mode, params, "mode") if params.get("mode") is not None else Mode.AUTO
    outcome = daemon.provision(mode, [receive_script(daemon.cache, connection.large, item) for item in items])
    if isinstance(outcome, Run):
        connection.follow(outcome.record)
    else:
        connection.result(outcome._asdict())


def receive_script(cache: ScriptCache, large: LargeMessage | None, item: object) -> CachedScript:
    """Store one script of a request, whose text is in memory only meanwhile. Raises ValueError and OSError."""
    script = script_from_wire(large.expand(item) if large else item)
    cache.store_content(script)
    return CachedScript.of(script)


def attach(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Everything a run has said from an offset on."""
    run_id = get_optional_str(params, "run_id")
    offset = get_int(params, "offset", low=0, high=2**63) if params.get("offset") is not None else 0
    follow = get_bool(params, "follow", default=True)
    record = daemon.record(run_id)
    try:
        if not record.has_boundary(offset):
            raise ValueError(f"offset is {offset}, where no frame of the run's record begins")
        goes_on = record.result_at is None
        connection.follow(record, offset, then=running(daemon) if goes_on and not follow else None)
    finally:
        if not daemon.is_latest(record):
            record.retire()


def running(daemon: Daemon) -> Message:
    """The result for a client that does not want to wait for the run's."""
    run_id: str | None = daemon.run.run_id if daemon.run else None
    return {"success": None, "running": True, "run_id": run_id}


def cancel(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Stop the run; answered at once, the run ends when its processes have."""
    connection.result({"cancelled": daemon.cancel(get_optional_str(params, "run_id"))})


def execute(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Run a command for as long as the client is there."""
    if large := connection.large:
        if large.size > EXEC_MAX:
            raise RequestError(ErrorCode.BAD_REQUEST, f"an exec request is at most {EXEC_MAX} bytes")
        params = {name: large.expand(value) for name, value in params.items()}
    daemon.begin(connection, Exec(daemon.loop, daemon.settings, connection, ExecRequest.parse(params)))


def read_file(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Send a file."""
    daemon.begin(connection, FileReader(daemon.loop, connection, params))


def write_file(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Receive a file."""
    daemon.begin(connection, FileWriter(connection, WriteRequest.parse(params)))


def forward(daemon: Daemon, connection: Connection, params: Message) -> None:
    """Connect to a TCP port of the guest's loopback."""
    daemon.begin(connection, Forward(daemon.loop, connection, params))


def ports(daemon: Daemon, connection: Connection, params: Message) -> None:
    """The TCP ports that are listened on, now or for as long as the client is there."""
    if get_bool(params, "follow", default=False):
        daemon.begin(connection, PortFollower(daemon.loop, daemon.settings, connection))
    else:
        connection.event({"type": "ports", "tcp": listening(daemon.settings)})
        connection.result({})


def runs(daemon: Daemon, connection: Connection, params: Message) -> None:
    """The runs that are kept, now or for as long as the client is there."""
    if get_bool(params, "follow", default=False):
        daemon.begin(connection, RunFollower(daemon.loop, daemon.runs, connection))
    else:
        connection.event(daemon.runs.message())
        connection.result({})


METHODS: dict[str, Callable[[Daemon, Connection, Message], None]] = {
    "status": status,
    "provision": provision,
    "attach": attach,
    "runs": runs,
    "cancel": cancel,
    "exec": execute,
    "read_file": read_file,
    "write_file": write_file,
    "forward": forward,
    "ports": ports,
}
