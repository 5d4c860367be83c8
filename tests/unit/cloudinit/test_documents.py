"""The seed's documents, read back as cloud-init reads them: as YAML."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import json

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rum.cloudinit import Nic, SeedSpec, build_seed, seed_hash

SPEC = SeedSpec(
    vm_id="0b8cbb2c-7a4c-4d8a-9f52-3f0f5a1f2f11",
    hostname="dev",
    user_name="rum",
    groups=(),
    authorized_keys=("ssh-ed25519 AAAA rum-dev", "ssh-rsa BBBB jürgen@host 🐎"),
    agent=b"#!/usr/bin/python3 -ISXutf8\nPK zipapp\0",
    key=bytes(range(32)),
    autologin=False,
    nics=(Nic("52:54:00:01:02:03"),),
)


def user_data(spec: SeedSpec) -> dict[str, object]:
    text = build_seed(spec)["user-data"].decode("utf-8")
    assert text.startswith("#cloud-config\n")
    document = yaml.safe_load(text)
    assert document == json.loads(text.removeprefix("#cloud-config\n"))
    assert isinstance(document, dict)
    return document


def written_files(spec: SeedSpec) -> dict[str, dict[str, str]]:
    files = user_data(spec)["write_files"]
    assert isinstance(files, list)
    return {file["path"]: file for file in files}


def test_user_data_holds_the_documented_keys_and_nothing_else() -> None:
    assert set(user_data(SPEC)) == {
        "users",
        "write_files",
        "ssh_genkeytypes",
        "cloud_init_modules",
        "cloud_config_modules",
        "cloud_final_modules",
        "bootcmd",
        "runcmd",
    }


def test_the_only_user_has_the_keys_and_no_password() -> None:
    assert user_data(SPEC)["users"] == [
        {
            "name": "rum",
            "shell": "/bin/bash",
            "sudo": "ALL=(ALL) NOPASSWD:ALL",
            "lock_passwd": True,
            "ssh_authorized_keys": ["ssh-ed25519 AAAA rum-dev", "ssh-rsa BBBB jürgen@host 🐎"],
        }
    ]


def test_groups_appear_where_there_are_some() -> None:
    document = user_data(dataclasses.replace(SPEC, groups=("docker", "video")))
    users = document["users"]
    assert isinstance(users, list)
    assert users[0]["groups"] == ["docker", "video"]
    assert (document["groups"], users[0]["primary_group"]) == ([SPEC.user_name], SPEC.user_name)


def test_the_agent_is_written_as_it_is() -> None:
    agent = written_files(SPEC)["/usr/local/bin/rum-agent"]
    assert agent["permissions"] == "0755"
    assert agent["encoding"] == "gz+b64"
    assert gzip.decompress(base64.b64decode(agent["content"])) == SPEC.agent


def test_the_key_is_64_digits_for_root_alone() -> None:
    key = written_files(SPEC)["/etc/rum/key"]
    assert (key["permissions"], key["content"]) == ("0600", bytes(range(32)).hex() + "\n")


def test_write_files_comes_before_bootcmd_which_starts_the_agent() -> None:
    document = user_data(SPEC)
    modules = document["cloud_init_modules"]
    assert isinstance(modules, list)
    assert modules[:2] == ["write-files", "bootcmd"]
    assert "mounts" not in modules
    assert document["bootcmd"] == [
        "systemctl start --no-block rum-agent.service && exit",
        ["systemctl", "daemon-reload"],
        ["systemctl", "start", "--no-block", "rum-agent.service"],
    ]


def test_a_drop_in_for_a_unit_that_runs_needs_the_reload() -> None:
    assert user_data(dataclasses.replace(SPEC, autologin=True))["bootcmd"] == [
        ["systemctl", "daemon-reload"],
        ["systemctl", "start", "--no-block", "rum-agent.service"],
    ]


def test_cloud_init_does_what_a_stock_image_does_by_itself_and_no_more() -> None:
    document = user_data(SPEC)
    init, config, final = (document[f"cloud_{stage}_modules"] for stage in ("init", "config", "final"))
    assert isinstance(init, list)
    assert {"growpart", "resizefs", "set_hostname", "update_etc_hosts", "users-groups", "ssh"} <= set(init)
    assert config == ["locale", "set-passwords", "apt-configure", "runcmd"]
    scripts = ["scripts-vendor", "scripts-per-once", "scripts-per-boot", "scripts-per-instance", "scripts-user"]
    assert final == [*scripts, "final-message"], "final-message leaves the mark that scripts wait for"


def test_runcmd_is_the_backstop() -> None:
    assert user_data(SPEC)["runcmd"] == [
        "systemctl is-active --quiet rum-agent.service && systemctl is-enabled --quiet rum-agent.service && exit",
        ["systemctl", "daemon-reload"],
        ["systemctl", "enable", "--now", "rum-agent.service"],
    ]


def test_the_autologin_drop_in_appears_only_where_it_is_enabled() -> None:
    path = "/etc/systemd/system/serial-getty@ttyS0.service.d/autologin.conf"
    assert path not in written_files(SPEC)
    content = written_files(dataclasses.replace(SPEC, autologin=True))[path]["content"]
    assert "--autologin rum " in content
    assert "After=" not in content
    elsewhere = dataclasses.replace(SPEC, autologin=True, serial_device="ttyAMA0")
    assert "/etc/systemd/system/serial-getty@ttyAMA0.service.d/autologin.conf" in written_files(elsewhere)


def test_the_unit_starts_early_and_names_the_vm() -> None:
    unit = written_files(SPEC)["/etc/systemd/system/rum-agent.service"]["content"].splitlines()
    assert f"ExecStart=/usr/bin/python3 -I -S -X utf8 /usr/local/bin/rum-agent --vm-id {SPEC.vm_id}" in unit
    assert "DefaultDependencies=no" in unit
    assert "After=local-fs.target" in unit
    assert "Wants=network-online.target" in unit


def test_without_a_network_the_unit_does_not_want_one() -> None:
    spec = dataclasses.replace(SPEC, nics=())
    assert "network" not in written_files(spec)["/etc/systemd/system/rum-agent.service"]["content"]


def test_meta_data_names_the_vm_and_keeps_cloud_init_local() -> None:
    meta_data = yaml.safe_load(build_seed(SPEC)["meta-data"])
    assert meta_data == {"instance-id": SPEC.vm_id, "local-hostname": "dev", "dsmode": "local"}


def test_network_config_is_plain_dhcp_on_the_given_interface() -> None:
    assert yaml.safe_load(build_seed(SPEC)["network-config"]) == {
        "version": 2,
        "ethernets": {"rum0": {"match": {"macaddress": "52:54:00:01:02:03"}, "set-name": "rum0", "dhcp4": True}},
    }


def test_a_further_interface_holds_nothing_up_and_takes_no_default_route() -> None:
    nics = (*SPEC.nics, Nic("52:54:00:01:02:04"), Nic("52:54:00:01:02:05", "192.168.50.2/24"))
    network = yaml.safe_load(build_seed(dataclasses.replace(SPEC, nics=nics))["network-config"])
    assert network["ethernets"] == {
        "rum0": {"match": {"macaddress": "52:54:00:01:02:03"}, "set-name": "rum0", "dhcp4": True},
        "rum1": {
            "match": {"macaddress": "52:54:00:01:02:04"},
            "set-name": "rum1",
            "dhcp4": True,
            "dhcp4-overrides": {"route-metric": 2000},
            "optional": True,
        },
        "rum2": {
            "match": {"macaddress": "52:54:00:01:02:05"},
            "set-name": "rum2",
            "addresses": ["192.168.50.2/24"],
        },
    }


@pytest.mark.parametrize("address", [None, "192.168.50.2/24", "fd00::2/64"])
def test_the_only_interface_is_waited_for(address: str | None) -> None:
    """Where every interface is optional, systemd-networkd-wait-online waits for 120 s."""
    spec = dataclasses.replace(SPEC, nics=(Nic("52:54:00:01:02:03", address),))
    (ethernet,) = yaml.safe_load(build_seed(spec)["network-config"])["ethernets"].values()
    assert "optional" not in ethernet
    assert ethernet.get("addresses", [None]) == [address]


def test_without_a_network_cloud_init_configures_none() -> None:
    files = build_seed(dataclasses.replace(SPEC, nics=()))
    assert yaml.safe_load(files["network-config"]) == {"config": "disabled"}


@pytest.mark.parametrize(
    "change",
    [{"hostname": "other"}, {"agent": b"other"}, {"autologin": True}, {"groups": ("wheel",)}, {"key": bytes(32)}],
)
def test_the_hash_changes_with_whatever_is_on_the_iso(change: dict[str, object]) -> None:
    changed = dataclasses.replace(SPEC, **change)  # type: ignore[arg-type]
    assert seed_hash(build_seed(changed)) != seed_hash(build_seed(SPEC))


def test_the_hash_is_stable() -> None:
    files = build_seed(SPEC)
    assert seed_hash(files) == seed_hash(dict(reversed(files.items())))
    assert build_seed(SPEC) == files


def test_the_hash_tells_names_from_contents() -> None:
    assert seed_hash({"a": b"1b 1\n2"}) != seed_hash({"a": b"1", "b": b"2"})


@given(st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), min_size=1))
def test_any_printable_comment_survives_yaml(comment: str) -> None:
    key = f"ssh-ed25519 AAAA {comment}"
    users = user_data(dataclasses.replace(SPEC, authorized_keys=(key,)))["users"]
    assert isinstance(users, list)
    assert users[0]["ssh_authorized_keys"] == [key]
