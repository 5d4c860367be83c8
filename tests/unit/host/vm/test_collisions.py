"""VMs of one host that start at once: neither their names nor their vsock CIDs are ever the same.

Processes race for CIDs of which there are hardly more than VMs. Everything is real but the hypervisor, which is
libvirt's test driver, and the kernel's vhost-vsock, which gives a CID to one VM at a time: a directory of files does.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from rum.host.channel.transport import cid_candidates
from rum.host.config.identity import VmIdentity

VMS = 4

CIDS = 5
"""All that there are in this test."""

TOML = """
[image]
base = "../base.qcow2"
[resources]
disk = "64M"
[advanced]
libvirt_uri = "test:///default"
accelerator = "tcg"
transport = "vhost-vsock"
"""

STARTING = """
import itertools, json, sys
from pathlib import Path
from rum.host.channel import transport
from rum.host.config.load import load_config
from rum.host.vm import domain_start, domain_xml
from rum.host.vm.libvirt_driver import LibvirtDriver
from rum.host.vm.libvirt_errors import CidInUseError
from rum.host.vm.machine import Machine

taken, cids = Path(sys.argv[2]), int(sys.argv[3])
candidates, build, start, define = domain_start.cid_candidates, domain_xml.build_domain_xml, LibvirtDriver.start, []

def few(vm_id):
    return (3 + cid % cids for cid in candidates(vm_id))

def built(spec):
    define.append(spec.cid)
    return build(spec).replace('<domain type="qemu"', '<domain type="test"', 1)

def start_with_cid(driver, name):
    try:
        (taken / str(define[-1])).open("x").close()
    except FileExistsError:
        raise CidInUseError("the vsock CID is taken") from None
    start(driver, name)

transport.why_not_openable = lambda device: None
domain_start.cid_candidates, domain_start.build_domain_xml = few, built
LibvirtDriver.start = start_with_cid
machine = Machine(load_config(Path(sys.argv[1])), lambda event: None)
print("ready", flush=True)
sys.stdin.readline()
machine.start()
print(json.dumps({"cid": machine.endpoint().cid}), flush=True)
"""


@pytest.fixture
def projects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A rum.toml each, all in directories of the same name."""
    for name in ("state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", tmp_path / "base.qcow2", "16M"], check=True)
    made = [tmp_path / str(number) / "demo" / "rum.toml" for number in range(VMS)]
    for path in made:
        path.parent.mkdir(parents=True)
        path.write_text(TOML.replace("../base", "../../base"))
    return made


def test_vms_that_race_for_a_cid_all_get_one_of_their_own(
    projects: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    with contextlib.ExitStack() as stack:
        monkeypatch.setenv("XDG_RUNTIME_DIR", stack.enter_context(tempfile.TemporaryDirectory(prefix="rum-")))
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", STARTING, str(path), str(taken), str(CIDS)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for path in projects
        ]
        assert [racer.stdout.readline() for racer in racers if racer.stdout] == ["ready\n"] * VMS
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("go\n")
            racer.stdin.flush()
        answers = [json.loads(racer.communicate(timeout=120)[0]) for racer in racers]
    states = [json.loads(path.read_text()) for path in (tmp_path / "state/rum/vms").glob("*/state.json")]
    assert len({state["id8"] for state in states}) == len({state["vm_id"] for state in states}) == VMS
    cids = [answer["cid"] for answer in answers]
    assert len(set(cids)) == VMS
    assert sorted(cids) == sorted(state["started"]["cid"] for state in states), "each is remembered"
    assert {str(cid) for cid in cids} == {path.name for path in taken.iterdir()}


def test_projects_of_one_name_are_vms_of_many_names() -> None:
    identities = [VmIdentity.of(Path(f"/home/{number}/demo/rum.toml")) for number in range(2000)]
    assert {identity.name for identity in identities} == {"demo"}
    assert len({identity.domain_name for identity in identities}) == len(identities)


def test_thousands_of_vms_hardly_ever_want_the_same_cid_first() -> None:
    firsts = [next(cid_candidates(f"00000000-0000-4000-8000-{number:012x}")) for number in range(5000)]
    assert len(set(firsts)) == len(firsts)
    assert min(firsts) > 2, "0, 1 and 2 are the hypervisor, the guest itself and the host (vsock(7))"
    assert len(set(itertools.islice(cid_candidates("one"), 16))) == 16
