"""How the rum.toml of a test allows for a host that is slower than rum reckons with."""

from __future__ import annotations

import tomllib

import pytest

from e2e.project import patient

IMAGE = '[image]\nbase = "debian-12"\n'


@pytest.mark.parametrize("rest", ["", "[advanced]\nautologin = true\n", "#[advanced]\n#autologin = true\n"])
def test_a_boot_may_take_longer_and_everything_else_stays(rest: str) -> None:
    before = tomllib.loads(IMAGE + rest)
    after = tomllib.loads(patient(IMAGE + rest, 2400))
    assert after["advanced"].pop("boot_timeout_s") == 2400
    assert after == before | {"advanced": before.get("advanced", {})}


def test_a_test_that_has_its_own_limit_keeps_it() -> None:
    text = IMAGE + "[advanced]\nboot_timeout_s = 15\n"
    assert patient(text, 2400) == text


def test_where_rums_default_will_do_nothing_is_written() -> None:
    assert patient(IMAGE, None) == IMAGE
