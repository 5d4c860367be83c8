"""Shared by every unit test."""

from __future__ import annotations

from hypothesis import settings

# The same few examples in every run, and no deadline: a loaded machine is slow, not wrong.
settings.register_profile("unit", derandomize=True, deadline=None, database=None, max_examples=50)
settings.load_profile("unit")
