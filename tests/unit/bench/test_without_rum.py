"""The machine of the peer that has no rum, made of rum's own."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from e2e.bench.without_rum import DOMAIN, without_rum
from rum.host.channel.endpoint import Transport
from rum.host.vm.domain_xml import build_domain_xml
from tests.unit.host.vm.test_domain_xml import SPEC


@pytest.fixture(params=list(Transport))
def rums(request: pytest.FixtureRequest) -> ElementTree.Element:
    return ElementTree.fromstring(build_domain_xml(dataclasses.replace(SPEC, transport=request.param, drives={})))


@pytest.fixture
def peer(rums: ElementTree.Element, tmp_path: Path) -> ElementTree.Element:
    disk = rums.find("devices/disk")
    assert disk is not None
    ElementTree.SubElement(disk, "backingStore", {"type": "file"})
    return without_rum(rums, tmp_path / "overlay.qcow2", tmp_path / "seed.iso")


def test_libvirt_s_schema_accepts_it(peer: ElementTree.Element, tmp_path: Path) -> None:
    path = tmp_path / "domain.xml"
    path.write_bytes(ElementTree.tostring(peer))
    done = subprocess.run(["virt-xml-validate", str(path), "domain"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_of_rum_is_left(peer: ElementTree.Element, tmp_path: Path) -> None:
    text = (
        ElementTree.tostring(peer, encoding="unicode")
        .replace(str(tmp_path), "")
        .replace(DOMAIN, "")
        .replace("rum_seed", "")
    )
    assert "rum" not in text
    assert "vsock" not in text
    assert "/state" not in text
    assert "backingStore" not in text


def test_the_machine_is_the_same(peer: ElementTree.Element, rums: ElementTree.Element) -> None:
    for tag in ("memory", "vcpu", "os", "cpu", "features"):
        mine, its = rums.find(tag), peer.find(tag)
        assert mine is not None
        assert its is not None
        assert ElementTree.tostring(mine) == ElementTree.tostring(its)
    assert [disk.attrib for disk in peer.iterfind("devices/disk/target")] == [
        disk.attrib for disk in rums.iterfind("devices/disk/target")
    ]


def test_rum_s_definition_is_left_alone(rums: ElementTree.Element, tmp_path: Path) -> None:
    before = ElementTree.tostring(rums)
    without_rum(rums, tmp_path / "overlay.qcow2", tmp_path / "seed.iso")
    assert ElementTree.tostring(rums) == before
