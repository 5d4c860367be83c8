"""The JSON Schema of rum.toml: what rum accepts is valid by it, and most of what rum refuses is not."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from rum.host.config.schema import json_schema, resolved
from tests.unit.host.config.test_bad_config import FILES

VALIDATOR = jsonschema.Draft202012Validator(json_schema())

SEEN_BY_RUM_ONLY = {
    # What several keys have to do with each other.
    "fs_below_mount",
    "fs_btrfs_raid10_on_three_drives",
    "fs_btrfs_too_few_drives",
    "fs_small_drives",
    "fs_drive_and_target_twice",
    "fs_no_drives_at_all",
    "fs_target_is_a_mounts",
    "fs_unknown_drive",
    "fs_vfat_large_drive",
    "fs_xfs_small_drive",
    "fs_zfs_pool_from_drive",
    "fs_zfs_pools_equal",
    "fs_zfs_too_few_drives",
    "mount_tags_equal",
    "mount_targets_equal",
    "network_interface_ip_twice",
    "network_interfaces_without_network_cards",
    "port_twice",
    "port_twice_by_wildcard",
    "script_names_equal",
    # This host's files, and what rum knows.
    "image_no_home",
    "image_unknown_name",
    "mount_below_readonly_mount",
    "mount_source_is_a_file",
    "mount_source_missing",
    "mount_source_no_repository",
    "mount_source_no_such_user",
    "script_file_is_a_device",
    "script_file_is_a_directory",
    "script_file_missing",
    "script_file_not_utf8",
    # Patterns cannot count, nor say what something is not; 2.0 is an integer in JSON.
    "auto_ports_backwards",
    "fs_target_var",
    "fs_zfs_reserved_pool",
    "image_url_scheme",
    "mount_target_agent_state",
    "mount_target_etc",
    "mount_target_hides_agent",
    "mount_target_proc",
    "network_interface_ip_of_the_network",
    "resources_cpus_float",
    "resources_disk_too_large",
    "script_named_like_a_generated_one",
    # What no pattern of a schema can tell.
    "image_url_no_address",
    "image_url_no_host",
}


def tables() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every table that the schema describes, the file itself included."""
    yield "the file", json_schema()
    yield from json_schema()["$defs"].items()


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_table_is_closed_and_every_key_described() -> None:
    for name, table in tables():
        assert table["additionalProperties"] is False, name
        for key, schema in table["properties"].items():
            assert resolved(schema).get("description"), f"{name}: {key}"


def test_whoever_names_a_table_may_not_name_it_anything() -> None:
    drives = json_schema()["properties"]["drives"]
    assert drives["additionalProperties"] is False
    assert VALIDATOR.is_valid({"image": {"base": "x"}, "drives": {"a-1": {"size": "1G"}}})
    assert not VALIDATOR.is_valid({"image": {"base": "x"}, "drives": {"A": {"size": "1G"}}})


@pytest.mark.parametrize(
    "path",
    [Path(__file__).with_name("complete.toml"), *Path(__file__).parents[4].glob("examples/*/rum.toml")],
    ids=lambda path: path.parent.name,
)
def test_what_rum_accepts_is_valid(path: Path) -> None:
    VALIDATOR.validate(tomllib.loads(path.read_text(encoding="utf-8")))


def test_what_rum_refuses_is_not_valid_but_for_rules_about_several_keys() -> None:
    accepted = set()
    for file in FILES:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except ValueError:
            continue
        if VALIDATOR.is_valid(values):
            accepted.add(file.stem)
    assert accepted == SEEN_BY_RUM_ONLY
