"""The peers' seeds: what is in them, and what is not."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from e2e.bench import nocloud
from rum.cloudinit import build_iso, build_seed
from tests.unit.cloudinit.test_documents import SPEC


def user_data(seed: dict[str, str]) -> dict[str, object]:
    first, _, rest = seed["user-data"].partition("\n")
    assert first == "#cloud-config"
    document = json.loads(rest)
    assert isinstance(document, dict)
    return document


@pytest.fixture
def rums(tmp_path: Path) -> dict[str, str]:
    iso = tmp_path / "seed.iso"
    iso.write_bytes(build_iso(build_seed(SPEC)))
    return nocloud.read_seed(iso)


def test_a_seed_is_read_as_rum_wrote_it(rums: dict[str, str]) -> None:
    assert rums == {name: content.decode() for name, content in build_seed(SPEC).items()}


def test_what_is_written_is_read_again_in_place_of_what_was_there(rums: dict[str, str], tmp_path: Path) -> None:
    iso = tmp_path / "seed.iso"
    nocloud.write_seed(iso, {"meta-data": "{}", "user-data": "#cloud-config\n{}"})
    assert nocloud.read_seed(iso) == {"meta-data": "{}", "user-data": "#cloud-config\n{}"}
    assert iso.read_bytes()[32808:32840].rstrip() == b"CIDATA", "ECMA-119, 8.4.7"


def test_only_the_early_start_is_taken_out(rums: dict[str, str]) -> None:
    without = nocloud.started_by_runcmd(rums)
    assert json.loads(without["meta-data"]).keys() == {"instance-id", "local-hostname"}
    before, after = user_data(rums), user_data(without)
    assert before.keys() - after.keys() == {"bootcmd", "cloud_init_modules"}
    assert after.items() <= before.items()
    assert ["systemctl", "enable", "--now", "rum-agent.service"] in after["runcmd"]  # type: ignore[operator]
    assert without["network-config"] == rums["network-config"]


def test_a_seed_without_an_early_start_is_no_peer(rums: dict[str, str]) -> None:
    with pytest.raises(KeyError):
        nocloud.started_by_runcmd(nocloud.started_by_runcmd(rums))


def test_a_seed_by_hand_has_nothing_of_rum() -> None:
    seed = nocloud.by_hand("ann", "ssh-ed25519 AAAA", "date > /var/tmp/now")
    assert user_data(seed)["runcmd"] == ["date > /var/tmp/now"]
    assert seed.keys() == {"meta-data", "user-data"}
    assert "rum" not in "".join(seed.values()).replace("runcmd", "")


def test_text_beyond_ascii_survives(tmp_path: Path) -> None:
    spec = dataclasses.replace(SPEC, hostname="dev", authorized_keys=("ssh-rsa BBBB jürgen 🐎",))
    iso = tmp_path / "seed.iso"
    iso.write_bytes(build_iso(build_seed(spec)))
    assert "jürgen 🐎" in json.dumps(user_data(nocloud.started_by_runcmd(nocloud.read_seed(iso))), ensure_ascii=False)
