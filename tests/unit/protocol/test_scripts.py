"""Provisioning scripts: what is accepted, in which order they run, and what makes two of them the same."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.protocol import After, ProvisionScript, RunOn, in_order, scripts_from_wire
from rum.protocol.limits import SCRIPTS_MAX

WIRE: dict[str, Any] = {"name": "a", "content": "true", "order": 1, "run_on": "system"}

scripts = st.builds(
    ProvisionScript,
    name=st.text("abc019._-", max_size=5).map(lambda text: f"x{text}"),
    content=st.text(),
    order=st.integers(0, 2**31 - 1),
    run_on=st.sampled_from(RunOn),
    timeout_s=st.none() | st.floats(0.001, 1e6),
    env=st.dictionaries(st.sampled_from(["A", "_b", "C3"]), st.text("=v ", max_size=2), max_size=2),
    after=st.sampled_from(After),
)


@given(st.lists(scripts, max_size=5, unique_by=lambda script: script.name))
def test_a_list_survives_the_wire_in_order(given_scripts: list[ProvisionScript]) -> None:
    wire: list[object] = [{**script._asdict(), "run_on": script.run_on.value} for script in given_scripts]
    assert scripts_from_wire(wire) == in_order(given_scripts)


def test_the_order_is_numeric_then_by_name() -> None:
    wire: list[object] = [
        {**WIRE, "name": name, "order": order} for name, order in [("b", 10), ("a", 10), ("c", 9), ("d", 100)]
    ]
    assert [script.name for script in scripts_from_wire(wire)] == ["c", "a", "b", "d"]


def test_defaults() -> None:
    system, boot = scripts_from_wire([WIRE, {**WIRE, "name": "b", "run_on": "boot", "timeout_s": None, "after": None}])
    assert (system.timeout_s, system.env, system.waits_for) == (None, {}, After.CLOUD_INIT)
    assert boot.waits_for is After.NETWORK_ONLINE


def test_unknown_fields_are_ignored() -> None:
    assert scripts_from_wire([{**WIRE, "colour": "red"}]) == scripts_from_wire([WIRE])


@pytest.mark.parametrize("name", ["a", "0", "a" * 64, "a.b_c-d", "0.sh"])
def test_names(name: str) -> None:
    assert scripts_from_wire([{**WIRE, "name": name}])[0].name == name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"name": ""}, "name is ''"),
        ({"name": "a" * 65}, "name is 'aaaa"),
        ({"name": ".a"}, "name is '.a'"),
        ({"name": "A"}, "name is 'A'"),
        ({"name": "../a"}, "name is '../a'"),
        ({"name": "a\n"}, "name is"),
        ({"name": None}, "name must be a string"),
        ({"content": 5}, "script a: content must be a string"),
        ({"content": "\udc80"}, "script a: content contains a lone surrogate"),
        ({"order": -1}, "script a: order is -1"),
        ({"order": 2**31}, "script a: order is 2147483648"),
        ({"order": "1"}, "script a: order must be an integer"),
        ({"order": None}, "script a: order must be an integer"),
        ({"run_on": "first-boot"}, "script a: run_on is 'first-boot', allowed are system, boot"),
        ({"run_on": None}, "script a: run_on must be a string"),
        ({"timeout_s": 0}, "script a: timeout_s is 0"),
        ({"env": {"A B": "x"}}, "script a: env has a variable 'A B'"),
        ({"env": []}, "script a: env must be an object"),
        ({"after": "never"}, "allowed are local-fs, network-online, cloud-init"),
    ],
)
def test_what_is_refused_is_named(change: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        scripts_from_wire([{**WIRE, **change}])


@pytest.mark.parametrize(
    ("item", "what"), [(None, "null or absent"), (1, "an integer"), ("a", "a string"), ([], "an array")]
)
def test_a_script_is_an_object(item: object, what: str) -> None:
    with pytest.raises(ValueError, match=f"^a script must be an object, not {what}$"):
        scripts_from_wire([item])


def test_a_long_choice_is_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match=r"run_on is 'b{80}', allowed"):
        scripts_from_wire([{**WIRE, "run_on": "b" * 10_000}])


def test_names_are_unique() -> None:
    with pytest.raises(ValueError, match="two scripts are named a"):
        scripts_from_wire([WIRE, {**WIRE, "order": 2}])
    with pytest.raises(ValueError, match="two scripts are named b"):
        scripts_from_wire([{**WIRE, "name": name} for name in ("b", "a", "a", "b")])


def test_the_number_of_scripts_is_bounded() -> None:
    wire: list[object] = [{**WIRE, "name": str(number)} for number in range(SCRIPTS_MAX + 1)]
    assert len(scripts_from_wire(wire[:-1])) == SCRIPTS_MAX
    with pytest.raises(ValueError, match="1001 elements"):
        scripts_from_wire(wire)


def test_identity_is_the_content_and_the_environment_and_nothing_else() -> None:
    script = ProvisionScript("a", "true\n", 1, RunOn.SYSTEM)
    assert script.sha256 == hashlib.sha256(b"true\n").hexdigest()
    for other in (
        script._replace(name="b", order=2, run_on=RunOn.BOOT),
        script._replace(timeout_s=5, after=After.LOCAL_FS, env={}),
    ):
        assert other.sha256 == script.sha256
    assert script._replace(content="true").sha256 != script.sha256
    assert script._replace(env={"A": "1"}).sha256 != script.sha256


def test_identity_does_not_depend_on_the_order_of_variables() -> None:
    one = ProvisionScript("a", "", 1, RunOn.BOOT, env={"A": "1", "B": "2"})
    other = ProvisionScript("a", "", 1, RunOn.BOOT, env={"B": "2", "A": "1"})
    assert one.sha256 == other.sha256
    assert one.sha256 != ProvisionScript("a", "", 1, RunOn.BOOT, env={"A": "1B", "": "2"}).sha256


def test_the_identity_with_an_environment_is_this_for_ever() -> None:
    # Computed once with sha256sum from the definition in docs/protocol.md: another one would run every script again.
    script = ProvisionScript("a", "true\n", 1, RunOn.SYSTEM, env={"B": "ü", "A": "1"})
    assert script.sha256 == "d3bd92e6eb61b7a3a2cd501f372e662c15949b5d997ba2451517d01a07c0c9fb"
