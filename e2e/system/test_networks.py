"""libvirt's own networks: NAT, and three more interfaces of which one gets no answer. One VM, as root."""

from __future__ import annotations

import json
import socket

import pytest

from e2e.conftest import MakeProject, Measured
from e2e.project import Outcome, Project, poll

CONFIG = """
[network]
mode = "nat"

[[network.interfaces]]
network = "lab"
ip = "192.168.50.2/24"

[[network.interfaces]]
network = "lab"

[[network.interfaces]]
network = "mute"

[provision.boot]
script = "true"
after = "network-online"
"""


@pytest.fixture(scope="module")
def project(make_project: MakeProject) -> Project:
    made = make_project("networks")
    made.configure(CONFIG)
    return made


@pytest.fixture(scope="module")
def first_up(project: Project) -> Outcome:
    return project.up()


def addresses(project: Project) -> list[list[str]]:
    """The IPv4 addresses of the cards with their prefixes, in the order of the domain, which is that of their names."""
    links = json.loads(project.guest("ip -4 -json address"))
    found = {link["ifname"]: [f"{info['local']}/{info['prefixlen']}" for info in link["addr_info"]] for link in links}
    names = {link["address"]: link["ifname"] for link in json.loads(project.guest("ip -json link"))}
    macs = [mac.attrib["address"] for mac in project.domain().iterfind("./devices/interface/mac")]
    assert [names[mac] for mac in macs] == [f"rum{index}" for index in range(len(macs))]
    return [found.get(names[mac], []) for mac in macs]


def check(project: Project) -> None:
    """Each card has what it should have, and the way out is the first one's."""
    for _ in poll(30 * project.patience, "an address by DHCP, which the boot does not wait for"):
        if addresses(project)[2]:
            break
    (nat,), (static,), (dynamic,), mute = addresses(project)
    assert nat.startswith("192.168.122.")
    assert static == "192.168.50.2/24"
    assert 100 <= int(dynamic.removeprefix("192.168.50.").removesuffix("/24")) <= 200
    assert mute == []
    (first, *_) = json.loads(project.guest("ip -json route show default"))
    assert first["gateway"] == "192.168.122.1"


def test_each_card_is_on_its_network(project: Project, first_up: Outcome) -> None:
    check(project)
    with socket.create_connection(("192.168.50.2", 22), timeout=30 * project.patience) as ssh:
        assert ssh.recv(4) == b"SSH-"


def test_a_card_without_an_answer_does_not_hold_the_boot_up(
    project: Project, first_up: Outcome, measured: Measured
) -> None:
    properties = "-p Result -p ExecMainStartTimestampMonotonic -p ExecMainExitTimestampMonotonic"
    shown = project.guest(f"systemctl show {properties} systemd-networkd-wait-online.service")
    found = dict(line.split("=", 1) for line in shown.splitlines())
    started, ended = (int(found[f"ExecMain{what}TimestampMonotonic"]) for what in ("Start", "Exit"))
    measured(f"wait-online with a network that answers no DHCP: {(ended - started) / 1e6:.1f} s")
    assert ended > started > 0
    assert found["Result"] == "success", "it gives up after 120 s"


def test_it_is_the_same_after_a_reboot(project: Project, first_up: Outcome) -> None:
    assert project.rum("down").exit == 0
    project.up()
    check(project)


def test_a_network_that_is_not_there_is_one_sentence(make_project: MakeProject) -> None:
    project = make_project("elsewhere")
    project.configure('[[network.interfaces]]\nnetwork = "elsewhere"\n')
    outcome = project.rum("up")
    assert outcome.exit == 3
    assert "network.interfaces[0] is on elsewhere, but there is no libvirt network elsewhere" in outcome.stderr
    assert not (project.directory / "state/rum/vms").exists()
