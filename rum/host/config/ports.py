"""Rules about `[[ports]]`, `[auto_ports]` and `[[network.interfaces]]`, and what they come to."""

from __future__ import annotations

import ipaddress
from itertools import combinations

from rum.host.config.document import File
from rum.host.config.draft import Draft
from rum.host.config.model import AutoPorts, Interface, Port
from rum.host.config.place import Place
from rum.host.config.types import port_range

DEFAULT_BIND = "127.0.0.1"

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def check_network(draft: Draft) -> None:
    """No network card means none; an address is one card's."""
    if draft.get(("network",), "mode", str) == "none":
        for place, _ in draft.find("network.interfaces", list):
            draft.note(place, 'cannot be had with network.mode = "none", which means no network card at all')
    found = draft.find("network.interfaces.*.ip", str)
    addresses = ((place, ipaddress.ip_interface(ip).ip) for place, ip in found)
    draft.refuse_repeated(addresses, "network card", "address")


def check_ports(draft: Draft) -> None:
    """A port of an address of this host is forwarded once."""
    found: list[tuple[Place, int, Address]] = []
    for table, _ in draft.find("ports.*", dict):
        host = draft.get(table, "host", int)
        bind = draft.get(table, "bind", str) or DEFAULT_BIND
        if host is not None and (*table, "bind") not in draft.malformed:
            found.append((table, host, normal(bind)))
    for (first, host, one), (second, other, another) in combinations(found, 2):
        if host == other and overlap(one, another):
            text = f"another forward takes this port of {one} (line {draft.line((*first, 'host'))})"
            draft.note_value((*second, "host"), host, text)


def normal(bind: str) -> Address:
    """An address, IPv4 also where it is written as IPv6."""
    address = ipaddress.ip_address(bind)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def overlap(one: Address, other: Address) -> bool:
    """Whether a port of the one is one of the other's: `::` takes IPv4, too."""
    return one == other or any(
        address.is_unspecified and (address.version == 6 or other.version == 4)
        for address, other in ((one, other), (other, one))
    )


def build_interfaces(document: File) -> tuple[Interface, ...]:
    """The additional network cards."""
    return tuple(Interface(entry.network, entry.ip) for entry in document.network.interfaces)


def build_ports(document: File) -> tuple[Port, ...]:
    """The static forwards."""
    return tuple(Port(entry.host, entry.guest, str(normal(entry.bind))) for entry in document.ports)


def build_auto_ports(document: File) -> AutoPorts | None:
    """The forwards that follow the guest, None where they are not wanted."""
    found = document.auto_ports
    if found is None:
        return None
    low, high = port_range(found.range) or (0, 0)
    return AutoPorts(low, high, str(normal(found.bind)))
