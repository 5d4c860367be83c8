"""`[[ports]]`, `[auto_ports]` and `[[network.interfaces]]`."""

from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.config.load import load_config
from rum.host.config.model import AutoPorts, Interface, Port
from tests.unit.host.config.config_text import MINIMAL, problems, write


def test_ports_and_interfaces(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            MINIMAL
            + """
[[ports]]
host = 80
guest = 8080
[[ports]]
host = 80
guest = 8081
bind = "::ffff:192.168.1.5"
[[ports]]
host = 80
guest = 8082
bind = "0:0::1"
[auto_ports]
[[network.interfaces]]
network = "lab"
ip = "192.168.50.2/24"
[[network.interfaces]]
network = "lab"
""",
        )
    )
    assert config.ports == (Port(80, 8080), Port(80, 8081, "192.168.1.5"), Port(80, 8082, "::1"))
    assert config.auto_ports == AutoPorts(1024, 65535, "127.0.0.1")
    assert config.network.interfaces == (Interface("lab", "192.168.50.2/24"), Interface("lab"))


def two_ports(one: str, other: str) -> str:
    return MINIMAL + "".join(f'[[ports]]\nhost = 80\nguest = 80\nbind = "{bind}"\n' for bind in (one, other))


@pytest.mark.parametrize(
    ("one", "other"),
    [("127.0.0.1", "127.0.0.2"), ("127.0.0.1", "::1"), ("0.0.0.0", "::1"), ("fd00::1", "fd00::2"), ("::1", "0.0.0.0")],
)
def test_one_port_of_two_addresses(tmp_path: Path, one: str, other: str) -> None:
    assert len(load_config(write(tmp_path, two_ports(one, other))).ports) == 2


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("127.0.0.1", "0.0.0.0"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
        ("127.0.0.1", "::"),
        ("::1", "::"),
        ("::", "0.0.0.0"),
        ("::1", "0:0:0:0:0:0:0:1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
    ],
)
def test_one_port_of_one_address_twice(tmp_path: Path, one: str, other: str) -> None:
    [problem] = problems(tmp_path, two_ports(one, other))
    assert problem.startswith("ports[1].host = 80: another forward takes this port of ")


@pytest.mark.parametrize(
    "ip", ["10.0.0.1/32", "10.0.0.0/31", "10.0.0.254/24", "fd00::ffff/112", "fd00::1/64", "::1/128"]
)
def test_an_interfaces_address_is_a_hosts(tmp_path: Path, ip: str) -> None:
    config = load_config(write(tmp_path, f'{MINIMAL}[[network.interfaces]]\nnetwork = "lab"\nip = "{ip}"\n'))
    assert config.network.interfaces == (Interface("lab", ip),)


@pytest.mark.parametrize(
    "ip",
    ["10.0.0.0/24", "10.0.0.255/24", "10.0.0.1", "10.0.0.1/33", "10.0.0.1/255.255.255.0", "fd00::/64", "1/8", "a/b"],
)
def test_an_interfaces_address_is_nothing_else(tmp_path: Path, ip: str) -> None:
    [problem] = problems(tmp_path, f'{MINIMAL}[[network.interfaces]]\nnetwork = "lab"\nip = "{ip}"\n')
    assert problem.startswith(f'network.interfaces[0].ip = "{ip}": must be the address of a host')


@pytest.mark.parametrize("ports", ["0-80", "80-79", "80", "1-65536", "1-99999", "80-", "-80", "1 - 2", "\u0661-\u0662"])
def test_a_range_of_ports_is_two_ports(tmp_path: Path, ports: str) -> None:
    [problem] = problems(tmp_path, f'{MINIMAL}[auto_ports]\nrange = "{ports}"')
    assert problem.startswith(f'auto_ports.range = "{ports}": must be two ports from 1 to 65535')


def test_the_range_of_ports_to_follow(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, MINIMAL + '[auto_ports]\nrange = "80-80"\nbind = "0.0.0.0"'))
    assert config.auto_ports == AutoPorts(80, 80, "0.0.0.0")
