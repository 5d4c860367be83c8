"""`rum status` for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rum.host.json_lines.answers import DriveFile, ForwardedPort, MountedDirectory, Status
from rum.host.outcome import how_it_ended
from rum.host.ports.host_ports import spelled
from rum.host.runs.verdicts import verdict
from rum.host.show.list_text import duration
from rum.host.sizes import show_size
from rum.protocol import ProvisionResult, RunOn

WIDTH = 13
"""Of the first column."""


def status_lines(status: Status) -> list[str]:
    """The lines for what `rum status -o json` prints."""
    provisioned = ", provisioned" if status["provisioned"] else ""
    head = f"VM {status['name']} ({status['id']}): {status['state']}{provisioned}"
    return [head, *(f"{name:<{WIDTH}}{text}" for name, text in details(status))]


def details(status: Status) -> Iterator[tuple[str, str]]:
    """What there is to say, each with its name."""
    yield "rum.toml", status["config"]
    if status["accelerator"]:
        yield "accelerator", status["accelerator"]
        yield "transport", str(status["transport"])
    if status["cpus"] and status["memory_mb"]:
        yield "resources", f"{status['cpus']} CPU{'s' * (status['cpus'] > 1)}, {status['memory_mb']} MiB of memory"
    if status["state"] == "running":
        yield "agent", agent_text(status["agent"])
    agent: Mapping[str, Any] = status["agent"] or {}
    for script in agent.get("scripts") or ():
        yield "script", script_text(script, agent.get("boot_id"))
    yield from (("drive", drive_text(drive)) for drive in status["drives"])
    yield from (("mount", mount_text(mount)) for mount in status["mounts"])
    yield from (("port", port_text(port)) for port in status["ports"])
    if status["last_run"]:
        yield "last run", run_text(status["last_run"])
    if status["console"]:
        yield "console", status["console"]
    if status["next"]:
        yield "next", status["next"]


def port_text(port: ForwardedPort) -> str:
    """A forwarded port in a few words.

    >>> port_text({"bind": "127.0.0.1", "host": 8080, "guest": 80, "auto": True})
    "127.0.0.1:8080 to the guest's 80 (auto)"
    """
    auto = " (auto)" if port["auto"] else ""
    return f"{spelled(port['bind'], port['host'])} to the guest's {port['guest']}{auto}"


def drive_text(drive: DriveFile) -> str:
    """A drive in a few words.

    >>> drive_text({"name": "data", "size_bytes": 10 << 30, "attached": False})
    'data, 10 GiB, detached'
    """
    size = "damaged" if drive["size_bytes"] is None else show_size(drive["size_bytes"])
    return ", ".join([drive["name"], size, *([] if drive["attached"] else ["detached"])])


def mount_text(mount: MountedDirectory) -> str:
    """A mount in a few words.

    >>> mount_text({"source": "/home/me", "target": "/srv", "readonly": True})
    '/home/me at /srv, read-only'
    """
    return f"{mount['source']} at {mount['target']}{', read-only' if mount['readonly'] else ''}"


def script_text(script: Mapping[str, Any], boot_id: object) -> str:
    """A script with how it ended the last time; a boot script has to run in each boot. The guest says what it likes."""
    about = f"{script.get('name')} ({script.get('run_on')}, order {script.get('order')})"
    last = script.get("last")
    if not last or (script.get("run_on") == RunOn.BOOT.value and last.get("boot_id") != boot_id):
        return f"{about}: has not run {'in this boot' if last else 'yet'}"
    if last.get("sha256") != script.get("sha256"):
        return f"{about}: has changed since it ran"
    code, timed_out = last.get("exit_code"), last.get("timed_out") is True
    ending = ProvisionResult(code == 0, exit_code=code, signal=last.get("signal"), timed_out=timed_out)
    return f"{about}: {'passed' if code == 0 and not timed_out else how_it_ended(ending)}"


def agent_text(agent: object) -> str:
    """The agent in a few words."""
    if not isinstance(agent, dict):
        return "does not answer"
    about = f"rum-agent {agent.get('agent_version')}, Python {agent.get('python')}"
    uptime = agent.get("uptime_s")
    up = f", up {duration(uptime)}" if isinstance(uptime, (int, float)) else ""
    run = agent.get("run")
    return about + up + (f", runs {run.get('script')} ({run.get('index')}/{run.get('total')})" if run else "")


def run_text(run: Mapping[str, object]) -> str:
    """The latest run in a few words."""
    return f"{run.get('run_id')} (trigger {run.get('trigger')}): {verdict(None if run.get('running') else dict(run))}"
