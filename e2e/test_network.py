"""Networks and machines that this host does not have: one sentence before anything is made. No VM boots.

What a VM without any network card is like is in test_images.py. libvirt's own networks belong to the system's libvirtd,
which these tests, run by an ordinary user, do not have; their tests are in e2e/system.
"""

from __future__ import annotations

import pytest

from e2e.conftest import MakeProject

LAB = '[[network.interfaces]]\nnetwork = "lab"\nip = "192.168.50.2/24"\n'


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('[network]\nmode = "nat"\n', 'network.mode is "nat", but qemu:///session has no networks of its own'),
        (LAB, "network.interfaces[0] is on lab, but qemu:///session has no networks of its own"),
        ('[advanced]\nmachine = "pc-q35-99.9"\n', "QEMU has no such machine"),
    ],
)
def test_what_this_host_cannot_do_is_said_before_anything_is_made(
    make_project: MakeProject, config: str, expected: str
) -> None:
    project = make_project("network")
    project.configure(config)
    outcome = project.rum("up")
    assert outcome.exit == 3
    assert f"rum: {expected}" in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (project.directory / "state/rum/vms").exists()
