"""The getters for untrusted JSON: the value of the right type, or a sentence that names the field."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rum.protocol import fields
from rum.protocol.limits import TIMEOUT_MAX_S

Getter = Callable[[dict[str, object]], object]

GOOD: list[tuple[Getter, dict[str, object], object]] = [
    (lambda f: fields.get_str(f, "x"), {"x": "ü"}, "ü"),
    (lambda f: fields.get_str(f, "x", pattern=re.compile("a+")), {"x": "aa"}, "aa"),
    (lambda f: fields.get_optional_str(f, "x"), {}, None),
    (lambda f: fields.get_optional_str(f, "x"), {"x": None}, None),
    (lambda f: fields.get_optional_str(f, "x"), {"x": ""}, ""),
    (lambda f: fields.get_int(f, "x", low=0, high=3), {"x": 3}, 3),
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {}, None),
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {"x": 0}, 0),
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {"x": 3}, 3),
    (lambda f: fields.get_seconds(f, "x"), {"x": 0.5}, 0.5),
    (lambda f: fields.get_seconds(f, "x"), {"x": None}, None),
    (lambda f: fields.get_seconds(f, "x"), {"x": TIMEOUT_MAX_S}, TIMEOUT_MAX_S),
    (lambda f: fields.get_bool(f, "x", default=True), {}, True),
    (lambda f: fields.get_bool(f, "x", default=True), {"x": False}, False),
    (lambda f: fields.get_object(f, "x"), {}, {}),
    (lambda f: fields.get_object(f, "x"), {"x": {"y": 1}}, {"y": 1}),
    (lambda f: fields.get_list(f, "x"), {"x": [1]}, [1]),
    (lambda f: fields.get_str_list(f, "x"), {"x": ["a", ""]}, ["a", ""]),
    (lambda f: fields.get_env(f, "x"), {"x": {"A_1": "=", "b": ""}}, {"A_1": "=", "b": ""}),
    (lambda f: fields.get_env(f, "x"), {}, {}),
    (lambda f: fields.get_env(f, "x", fields.get_bytes), {"x": {"A": "\udcff"}}, {"A": "\udcff"}),
    (lambda f: fields.get_bytes_list(f, "x"), {"x": ["ü", "\udc80\udcff", ""]}, ["ü", "\udc80\udcff", ""]),
]

BAD: list[tuple[Getter, dict[str, object], str]] = [
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {"x": "1"}, "x must be an integer, not a string"),
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {"x": -1}, "x is -1"),
    (lambda f: fields.get_optional_int(f, "x", low=0, high=3), {"x": 4}, "x is 4"),
    (lambda f: fields.get_bool(f, "x", default=True), {"x": 1}, "x must be true or false, not an integer"),
    (lambda f: fields.get_str(f, "x"), {}, "x must be a string, not null or absent"),
    (lambda f: fields.get_str(f, "x"), {"x": 1}, "x must be a string, not an integer"),
    (lambda f: fields.get_str(f, "x"), {"x": "\ud800"}, "x contains a lone surrogate"),
    (lambda f: fields.get_str(f, "x", pattern=re.compile("a+")), {"x": "ab"}, "x is 'ab', which does not match"),
    (lambda f: fields.get_str(f, "x", pattern=re.compile("a+")), {"x": "a\n"}, "does not match"),
    (lambda f: fields.get_int(f, "x", low=0, high=3), {"x": 4}, "x is 4, which is not between 0 and 3"),
    (lambda f: fields.get_int(f, "x", low=0, high=3), {"x": -1}, "not between"),
    (lambda f: fields.get_int(f, "x", low=0, high=3), {"x": True}, "must be an integer, not a boolean"),
    (lambda f: fields.get_int(f, "x", low=0, high=3), {"x": 1.0}, "must be an integer, not a number"),
    (lambda f: fields.get_seconds(f, "x"), {"x": 0}, "x is 0, which is not a positive number of seconds"),
    (lambda f: fields.get_seconds(f, "x"), {"x": TIMEOUT_MAX_S + 1}, "not a positive"),
    (lambda f: fields.get_seconds(f, "x"), {"x": float("nan")}, "not a positive"),
    (lambda f: fields.get_seconds(f, "x"), {"x": float("inf")}, "not a positive"),
    (lambda f: fields.get_seconds(f, "x"), {"x": "5"}, "must be a number of seconds, not a string"),
    (lambda f: fields.get_seconds(f, "x"), {"x": True}, "not a boolean"),
    (lambda f: fields.get_bool(f, "x", default=False), {"x": 1}, "must be true or false"),
    (lambda f: fields.get_object(f, "x"), {"x": []}, "must be an object, not an array"),
    (lambda f: fields.get_list(f, "x"), {"x": {}}, "must be an array, not an object"),
    (lambda f: fields.get_list(f, "x"), {}, "must be an array"),
    (lambda f: fields.get_str_list(f, "x"), {"x": ["a", 1]}, "x must be a string"),
    (lambda f: fields.get_bytes_list(f, "x"), {"x": ["\udc7f"]}, "x contains a lone surrogate"),
    (lambda f: fields.get_bytes(f, "x"), {"x": 1}, "x must be a string, not an integer"),
    (lambda f: fields.get_env(f, "x"), {"x": {"1A": ""}}, "has a variable '1A'"),
    (lambda f: fields.get_env(f, "x"), {"x": {"A=B": ""}}, "has a variable"),
    (lambda f: fields.get_env(f, "x"), {"x": {"A": "\0"}}, "x.A must not contain a NUL"),
    (lambda f: fields.get_env(f, "x"), {"x": {"A": None}}, "A must be a string"),
]


@pytest.mark.parametrize(("getter", "given", "value"), GOOD)
def test_the_value(getter: Getter, given: dict[str, object], value: object) -> None:
    assert getter(given) == value


@pytest.mark.parametrize(("getter", "given", "sentence"), BAD)
def test_the_sentence(getter: Getter, given: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=re.escape(sentence)):
        getter(given)


def test_a_long_value_is_not_repeated_in_full() -> None:
    with pytest.raises(ValueError, match=r"^x is 'b{80}', which") as caught:
        fields.get_str({"x": "b" * 10_000}, "x", pattern=re.compile("a"))
    assert len(str(caught.value)) < 200


def test_nor_is_a_long_name() -> None:
    with pytest.raises(ValueError, match=r"^x has a variable '1{80}', which"):
        fields.get_env({"x": {"1" * 10_000: ""}}, "x")
