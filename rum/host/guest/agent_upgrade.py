"""A newer rum replaces the agent of an existing VM, over the channel that it has with it.

Everything goes through `exec`, which every agent has: the new files are whole before they take the old ones' names, and
the agent is asked to make room (SIGHUP, the unit's ExecReload), which it does as soon as nothing goes on in the guest.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from rum import __version__
from rum.cloudinit.install import AGENT_PATH, UNIT, UNIT_PATH, build_unit
from rum.host.bundle import build_agent_zipapp
from rum.host.captured import run_captured
from rum.host.channel.client import AgentConnection, LostError
from rum.host.channel.guest import Guest
from rum.host.channel.reach import short_deadline, wait_for_agent
from rum.host.deadlines import Deadline, pause
from rum.host.events import Emit, Notice
from rum.host.exec import ExecRequest
from rum.host.guest.configured import ConfiguredGuest
from rum.protocol import Message

RESTART_S = 15.0
"""An idle agent ends at once, systemd starts its successor after a second, and that needs another to be up."""

RETRY_S = 0.25

ENVIRONMENT: Mapping[str, str] = {"AGENT": AGENT_PATH, "UNIT_FILE": UNIT_PATH, "UNIT": UNIT}

# The agent first: it gets on with the unit of an older one, which may not get on with a newer unit.
INSTALL = """
set -eu
new=.new.$$
trap 'rm -f "$AGENT$new" "$UNIT_FILE$new"' EXIT
stage() { cat >"$1$new"; chmod "$2" "$1$new"; sync "$1$new"; }
stage "$AGENT" 0755
echo "$SHA256  $AGENT$new" | sha256sum --check --status || { echo 'the file did not arrive whole' >&2; exit 1; }
printf %s "$UNIT_TEXT" | stage "$UNIT_FILE" 0644
mv -f "$AGENT$new" "$AGENT"
mv -f "$UNIT_FILE$new" "$UNIT_FILE"
sync "${AGENT%/*}" "${UNIT_FILE%/*}"
systemctl daemon-reload
systemctl reload "$UNIT"
"""


def upgrade_if_outdated(guest: ConfiguredGuest, welcome: Message, emit: Emit) -> None:
    """Replace the agent unless it is this rum's own or a newer one's; what keeps that from working is a warning.

    Raises GuestError where the guest is lost meanwhile.
    """
    agent = build_agent_zipapp()
    build = hashlib.sha256(agent).hexdigest()
    if not is_outdated(welcome, __version__, build):
        return
    old = f"rum-agent {welcome.get('agent_version')}"
    failure = install(guest, agent, build, emit)
    if failure:
        emit(Notice(f"the VM keeps its {old}, which could not be replaced: {failure}", warning=True))
    elif wait_for_build(guest, build, emit):
        emit(Notice(f"the VM's {old} was replaced by rum-agent {__version__}"))
    else:
        emit(Notice(f"the VM's {old} is replaced by rum-agent {__version__} once what runs in the guest has ended"))


def is_outdated(welcome: Message, version: str, build: str) -> bool:
    """Whether the agent is older than this rum's, or another build of the same version; not where it has no build,
    because it runs from its sources. Agents that do not say are older than this question.
    """
    theirs, ours = numbers(str(welcome.get("agent_version"))), numbers(version)
    if theirs != ours:
        return theirs < ours
    return "build" not in welcome or welcome["build"] not in (None, build)


def numbers(version: str) -> list[int]:
    """The version's numbers, which compare as versions do."""
    return [int(number) for number in re.findall(r"\d+", version)]


def install(guest: ConfiguredGuest, agent: bytes, build: str, emit: Emit) -> str | None:
    """Put the files in place and have the agent make room; why it did not work, None where it did."""
    unit = build_unit(guest.vm_id(), network=guest.config.network.mode != "none")
    request = ExecRequest(["sh", "-c", INSTALL], env={**ENVIRONMENT, "SHA256": build, "UNIT_TEXT": unit})
    try:
        with connect(guest, emit) as connection:
            done = run_captured(connection, request, agent)
    except LostError:
        # An agent that does not know SIGHUP ends by it, and cannot answer any more.
        return None
    return None if done.ok else done.complaint


def wait_for_build(guest: Guest, build: str, emit: Emit) -> bool:
    """Whether the new agent answers soon."""
    deadline = Deadline(RESTART_S * guest.timeout_factor())
    while not deadline.expired:
        with connect(guest, emit) as connection:
            if connection.welcome.get("build") == build:
                return True
            if connection.call("status").get("run") is not None:
                return False
        pause(RETRY_S, deadline)
    return False


def connect(guest: Guest, emit: Emit) -> AgentConnection:
    """A connection to an agent that has answered before. Raises GuestError."""
    return wait_for_agent(guest, short_deadline(guest), emit, "waiting for the agent")
