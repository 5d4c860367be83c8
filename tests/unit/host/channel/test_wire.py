"""The protocol's types through dataclasses-json."""

from __future__ import annotations

import pytest

from rum.host.channel.wire import output_to_json, result_from_json, script_to_json
from rum.host.errors import GuestError
from rum.protocol import After, LogEvent, ProvisionResult, ProvisionScript, RunOn, scripts_from_wire

SCRIPT = ProvisionScript("a", "echo", 7, RunOn.SYSTEM, timeout_s=1.5, env={"K": "v"}, after=After.LOCAL_FS)


@pytest.mark.parametrize("script", [SCRIPT, ProvisionScript("b", "", 0, RunOn.BOOT)])
def test_a_script_goes_out_as_the_protocol_spells_it(script: ProvisionScript) -> None:
    [back] = scripts_from_wire([script_to_json(script)])
    assert back == script._replace(after=script.waits_for)


def test_a_result_comes_back_without_what_is_not_known() -> None:
    result = ProvisionResult(success=False, run_id="r", failed_script="a", signal=9, ran=["a"])
    assert result_from_json({"type": "result", "later": {"x": 1}, **result._asdict()}) == result
    assert result_from_json({"success": True}) == ProvisionResult(success=True)


@pytest.mark.parametrize(
    "message", [{}, {"success": "yes"}, {"success": True, "ran": "a"}, {"success": True, "signal": "9"}]
)
def test_a_malformed_result_is_the_agents_fault(message: dict[str, object]) -> None:
    with pytest.raises(GuestError, match="broke the protocol"):
        result_from_json(message)


def test_output_has_exactly_the_documented_keys() -> None:
    assert output_to_json(LogEvent("a", "stderr", 5, b"raw"), "text") == {
        "type": "output",
        "script": "a",
        "stream": "stderr",
        "timestamp_us": 5,
        "text": "text",
    }
