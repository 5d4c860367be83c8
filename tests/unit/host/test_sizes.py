from __future__ import annotations

import pytest

from rum.host.sizes import exact_size, parse_size, show_size


@pytest.mark.parametrize(("text", "size"), [("1K", 1024), ("512M", 512 << 20), ("20G", 20 << 30), ("64T", 64 << 40)])
def test_a_size_is_a_number_and_a_binary_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "1", "G", "0G", "-1G", "1.5G", "1 G", "1g", "1GB", "1GiB", "65T", "01G", "\u0661G"]
)
def test_anything_else_is_no_size(text: str) -> None:
    assert parse_size(text) is None


@pytest.mark.parametrize(
    ("size", "text"),
    [(10, "10 bytes"), (1536 << 20, "1.5 GiB"), (3 << 30, "3 GiB"), (1023 << 20, "1023 MiB"), (1 << 60, "1048576 TiB")],
)
def test_sizes_for_people(size: int, text: str) -> None:
    assert show_size(size) == text


@pytest.mark.parametrize(("size", "text"), [(20 << 30, "20 GiB"), (20500 << 20, "20500 MiB"), (1025, "1025 bytes")])
def test_sizes_to_be_written_into_rum_toml(size: int, text: str) -> None:
    assert exact_size(size) == text
