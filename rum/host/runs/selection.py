"""`rum provision --from NAME`: the scripts from that one on, and whether those before it may be left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rum.host.config.place import suggestion
from rum.host.errors import ConfigError
from rum.protocol import ProvisionScript, RunOn, in_order
from rum.protocol.summary import RunSummary


def require_script(name: str, known: Sequence[str]) -> None:
    """Raises ConfigError for a script that there is not."""
    if name not in known:
        there_are = f"scripts in their order: {', '.join(known)}" if known else "rum.toml has no scripts"
        raise ConfigError(f"there is no script '{name}'{near(name, known)}", hint=there_are)


def near(name: str, known: Sequence[str]) -> str:
    """The end of a sentence on an unknown script, where one has a name like it."""
    meant = suggestion(name, known)
    return meant if "did you mean" in meant else ""


def beginning_with(name: str, scripts: Iterable[ProvisionScript]) -> list[ProvisionScript]:
    """The scripts from the named one on, as they run. Raises ConfigError where there is none of this name."""
    ordered = in_order(scripts)
    names = [script.name for script in ordered]
    require_script(name, names)
    return ordered[names.index(name) :]


def require_passed(
    left_out: Iterable[ProvisionScript], name: str, cached: Iterable[Mapping[str, object]], runs: Iterable[RunSummary]
) -> None:
    """Raises ConfigError where a System script that would be left out of the first boot has not passed as it is.

    The agent ends the first boot once those that it was sent have passed: it trusts whoever leaves one out.
    `cached` is what `status` says of the scripts.
    """
    last = {entry.get("name"): entry.get("last") for entry in cached}
    failed = {(run.run_id, run.failed_script) for run in runs}
    for script in in_order(left_out):
        if script.run_on is RunOn.SYSTEM and not has_passed(script, last.get(script.name), failed):
            raise ConfigError(
                f"the first boot has not ended, and script '{script.name}', which is before '{name}', has not passed",
                hint=f"`rum up` runs all of them, `rum provision --from {script.name}` those from that one on",
            )


def has_passed(script: ProvisionScript, last: object, failed: set[tuple[str, str | None]]) -> bool:
    """Whether its `last` is that it has passed as it is now. One that was cancelled may have ended with 0, too."""
    if not isinstance(last, dict) or (last.get("run_id"), script.name) in failed:
        return False
    return last.get("sha256") == script.sha256 and last.get("exit_code") == 0 and not last.get("timed_out")
