"""The fuzz targets on what hypothesis makes up: bytes, honest streams with mutations, and pieces of several."""

from __future__ import annotations

import importlib
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import TARGETS


def mutated(seeds: list[bytes]) -> st.SearchStrategy[bytes]:
    """A seed of which a part is replaced, removed, doubled, or followed by another seed."""
    return st.builds(
        lambda seed, start, length, piece, after: seed[:start] + piece + seed[start + length :] + after,
        st.sampled_from(seeds),
        st.integers(0, max(map(len, seeds))),
        st.sampled_from([0, 0, 1, 1, 2, 4, 20]),
        st.binary(max_size=6)
        | st.sampled_from([b"", b"null", b"[]", b"{}", b"-1", b'""', b"1e400", b"\\ud800", b"\x00"]),
        st.just(b"") | st.sampled_from(seeds),
    )


def target(name: str) -> ModuleType:
    return importlib.import_module(f"tests.fuzz.{name}")


@pytest.mark.parametrize("name", TARGETS)
def test_the_seeds(name: str) -> None:
    for seed in target(name).SEEDS:
        target(name).check(seed)


@pytest.mark.parametrize("name", TARGETS)
def test_random_and_mutated_streams(name: str) -> None:
    module = target(name)

    @settings(max_examples=100)
    @given(mutated(module.SEEDS) | st.binary(max_size=200))
    def holds(data: bytes) -> None:
        module.check(data)

    holds()
