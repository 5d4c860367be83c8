"""The `ports` method, with the kernel's tables played by files and read from the kernel itself."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rum.agent.ports import parse_table
from tests.unit.agent.harness import Agent, subset
from tests.unit.agent.tcp_servers import echo, serving

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address: str, port: int, state: str = "0A") -> str:
    rest = "00000000:00000000 00:00000000 00000000     0        0 2110 1 0000000000000000 100 0 0 10 0"
    return f"   0: {address}:{port:04X} 00000000:0000 {state} {rest}\n"


def native(packed: bytes) -> str:
    """An address as the kernel of this machine prints it."""
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


def ipv4(text: str) -> str:
    return native(socket.inet_aton(text))


def ipv6(text: str) -> str:
    return native(socket.inet_pton(socket.AF_INET6, text))


def play(agent: Agent, *lines: str, table: str = "tcp") -> None:
    """Have the kernel list these sockets."""
    file = agent.root / "proc/net" / table
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_suffix(".new")
    new.write_text(HEAD + "".join(lines), encoding="ascii")
    new.replace(file)


def test_what_the_loopback_reaches_is_listed_once_and_sorted(agent: Agent) -> None:
    play(
        agent,
        line(ipv4("127.0.0.1"), 8080),
        line(ipv4("0.0.0.0"), 22),
        line(ipv4("127.0.0.53"), 53),
        line(ipv4("10.0.2.15"), 5000),
        line(ipv4("127.0.0.1"), 40000, "01"),
    )
    play(
        agent,
        line(ipv6("::"), 22),
        line(ipv6("::1"), 631),
        line(ipv6("::ffff:127.0.0.1"), 9000),
        line(ipv6("fe80::1"), 9001),
        table="tcp6",
    )
    answer = agent.call("ports")
    assert answer.messages == [{"type": "ports", "tcp": [22, 631, 8080, 9000]}, {"type": "result"}]


def test_the_kernels_own_table(agent: Agent) -> None:
    (agent.root / "proc/net").symlink_to("/proc/net")
    with serving(echo) as ipv4_port, serving(echo, "::1") as ipv6_port:
        [message] = agent.call("ports").of("ports")
        assert {ipv4_port, ipv6_port} <= {*message["tcp"]}
    [message] = agent.call("ports").of("ports")
    assert not {ipv4_port, ipv6_port} & {*message["tcp"]}


def test_a_kernel_without_ipv6_and_one_without_tables(agent: Agent) -> None:
    assert agent.call("ports").of("ports") == [{"type": "ports", "tcp": []}]
    play(agent, line(ipv4("127.0.0.1"), 80))
    assert agent.call("ports").of("ports") == [{"type": "ports", "tcp": [80]}]


def test_a_follower_hears_of_every_change_and_only_of_those(guest: Agent) -> None:
    guest.setup += "; from rum.agent import ports; ports.LOOK_EVERY_S = 0.02"
    guest.limits = {"HEARTBEAT_S": 0.2}
    guest.start()
    client = guest.connect().request("ports", follow=True)
    assert client.wait_for("ports")["tcp"] == []
    play(guest, line(ipv4("127.0.0.1"), 80))
    client.read_until(lambda answer: len(answer.of("ports")) == 2)
    client.read_until(lambda answer: answer.heartbeats == 2)
    play(guest)
    client.read_until(lambda answer: len(answer.of("ports")) == 3)
    assert [message["tcp"] for message in client.answer.of("ports")] == [[], [80], []]
    client.close()
    guest.wait_for_descriptors(0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_follower_does_not_keep_the_agent(agent: Agent, number: int) -> None:
    client = agent.connect().request("ports", follow=True)
    client.wait_for("ports")
    agent.signal(number)
    assert agent.wait() == 0
    assert client.next() is None
    client.close()


def test_tables_that_cannot_be_read_are_an_error(agent: Agent) -> None:
    Path(agent.root / "proc/net/tcp").mkdir(parents=True)
    for follow in (True, False):
        assert subset(agent.call("ports", follow=follow).end, type="error", code="internal")
    assert agent.call("exec", argv=["true"]).end["exit_code"] == 0


def test_the_list_is_bounded(agent: Agent) -> None:
    play(agent, *(line(ipv4("127.0.0.1"), port) for port in range(1, 6000)))
    [message] = agent.call("ports").of("ports")
    assert message["tcp"] == list(range(1, 4097))


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n"))))
def test_no_table_makes_it_raise(lines: list[str]) -> None:
    assert list(parse_table(lines)) == []


@given(st.sampled_from(["0.0.0.0", "127.0.0.1"]), st.integers(1, 65535))
def test_every_port_is_found(address: str, port: int) -> None:
    assert list(parse_table([HEAD, line(ipv4(address), port)])) == [port]
