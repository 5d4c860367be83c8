"""`rum status` for people."""

from __future__ import annotations

from collections.abc import Mapping

from rum.host.outcome import seconds
from rum.host.ports.host_ports import spelled
from rum.host.runs.verdicts import verdict


def status_lines(status: Mapping[str, object]) -> list[str]:
    """The lines for what `rum status -o json` prints."""
    provisioned = ", provisioned" if status["provisioned"] else ""
    lines = [f"VM {status['name']} ({status['id']}): {status['state']}{provisioned}"]
    if status["accelerator"]:
        lines.append(f"accelerator  {status['accelerator']}")
        lines.append(f"transport    {status['transport']}")
    if status["state"] == "running":
        lines.append(f"agent        {agent_text(status['agent'])}")
    if isinstance(status["ports"], list):
        lines += [f"port         {port_text(port)}" for port in status["ports"]]
    if isinstance(status["last_run"], dict):
        lines.append(f"last run     {run_text(status['last_run'])}")
    return lines


def port_text(port: Mapping[str, object]) -> str:
    """A forwarded port in a few words.

    >>> port_text({"bind": "127.0.0.1", "host": 8080, "guest": 80, "auto": True})
    "127.0.0.1:8080 to the guest's 80 (auto)"
    """
    auto = " (auto)" if port["auto"] else ""
    return f"{spelled(port['bind'], port['host'])} to the guest's {port['guest']}{auto}"


def agent_text(agent: object) -> str:
    """The agent in a few words."""
    if not isinstance(agent, dict):
        return "does not answer"
    about = f"rum-agent {agent.get('agent_version')}, Python {agent.get('python')}"
    uptime = agent.get("uptime_s")
    up = f", up {seconds(1000 * uptime)}" if isinstance(uptime, (int, float)) else ""
    run = agent.get("run")
    return about + up + (f", runs {run.get('script')} ({run.get('index')}/{run.get('total')})" if run else "")


def run_text(run: Mapping[str, object]) -> str:
    """The latest run in a few words."""
    return f"{run.get('run_id')} (trigger {run.get('trigger')}): {verdict(None if run.get('running') else dict(run))}"
