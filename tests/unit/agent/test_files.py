"""`read_file` and `write_file`: whole files in both directions, or none."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import stat
from pathlib import Path

import pytest

from rum.protocol import Kind
from tests.unit.agent.harness import Agent, Answer, subset, wait_until


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(agent: Agent, path: object, data: bytes, **params: object) -> Answer:
    """Write with a size, unless `params` say otherwise."""
    wanted = {"path": str(path), "size": len(data), **params}
    client = agent.connect().request("write_file", **wanted)
    for start in range(0, len(data), 60_000):
        client.send(Kind.BYTES, data[start : start + 60_000])
    if wanted["size"] is None:
        client.send(Kind.BYTES, b"")
    return client.finish()


@pytest.fixture
def place(resident: Agent, tmp_path: Path) -> Path:
    return tmp_path / "there"


def leftovers(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir() if path != place)


class TestRead:
    @pytest.mark.parametrize("size", [0, 1, 16 * 1024, 3_000_000])
    def test_contents_size_hash_and_mode(self, resident: Agent, place: Path, size: int) -> None:
        data = os.urandom(size)
        place.write_bytes(data)
        place.chmod(0o640)
        answer = resident.call("read_file", path=str(place))
        read = b"".join(received.frame.payload for received in answer.frames if received.frame.kind is Kind.BYTES)
        assert read == data
        assert answer.end == {"type": "result", "size": size, "sha256": sha256(data), "mode": 0o640}

    def test_what_the_kernel_makes_up(self, resident: Agent) -> None:
        """Files of proc(5) have no size."""
        answer = resident.call("read_file", path="/proc/self/status")
        assert answer.end["size"] > 0
        assert answer.end["size"] == sum(len(received.frame.payload) for received in answer.frames[:-1])

    def test_a_slow_reader_costs_nothing(self, resident: Agent, place: Path) -> None:
        place.write_bytes(bytes(50_000_000))
        before = resident.memory_kib()
        client = resident.connect().request("read_file", path=str(place))
        client.read_until(lambda answer: len(answer.frames) > 1)
        assert resident.status()["run"] is None
        assert client.finish().end["size"] == 50_000_000
        assert resident.memory_kib() < before + 4096

    @pytest.mark.parametrize(
        ("path", "code", "word"),
        [
            ("/nowhere/at-all", "not-found", "no such file"),
            ("relative", "bad-request", "absolute"),
            ("", "bad-request", "absolute"),
            ("/nul\0byte", "bad-request", "NUL"),
            ("/tmp", "bad-request", "no regular file"),
            ("/dev/zero", "bad-request", "no regular file"),
            (7, "bad-request", "string"),
            (None, "bad-request", "string"),
        ],
    )
    def test_what_cannot_be_read(self, resident: Agent, path: object, code: str, word: str) -> None:
        end = resident.call("read_file", path=path).end
        subset(end, type="error", code=code)
        assert word in end["message"].lower() or word in end["message"]

    def test_a_fifo_does_not_stop_the_agent(self, resident: Agent, place: Path) -> None:
        os.mkfifo(place)
        subset(resident.call("read_file", path=str(place)).end, code="bad-request")


class TestWrite:
    @pytest.mark.parametrize("size", [0, 1, 60_000, 3_000_000])
    @pytest.mark.parametrize("announced", [True, False], ids=["announced", "until-the-end"])
    def test_contents_size_hash_and_mode(self, resident: Agent, place: Path, size: int, announced: bool) -> None:
        data = os.urandom(size)
        more = {} if announced else {"size": None}
        answer = write(resident, place, data, mode=0o755, sha256=sha256(data), **more)
        assert answer.end == {"type": "result", "size": size, "sha256": sha256(data), "mode": 0o755}
        assert place.read_bytes() == data
        assert stat.S_IMODE(place.stat().st_mode) == 0o755
        assert leftovers(place) == []

    def test_a_new_file_is_for_everybody_to_read(self, resident: Agent, place: Path) -> None:
        subset(write(resident, place, b"x").end, mode=0o644)

    def test_a_name_may_be_as_long_as_the_file_system_takes(self, resident: Agent, place: Path) -> None:
        longest = place.with_name("n" * os.pathconf(place.parent, "PC_NAME_MAX"))
        subset(write(resident, longest, b"x").end, size=1)
        assert longest.read_bytes() == b"x"

    def test_mode_and_owner_of_what_is_replaced_stay(self, resident: Agent, place: Path) -> None:
        place.write_bytes(b"old")
        place.chmod(0o600)
        if os.geteuid() == 0:
            os.chown(place, 1234, 5678)
        before = place.stat()
        subset(write(resident, place, b"new").end, mode=0o600)
        after = place.stat()
        assert (after.st_uid, after.st_gid) == (before.st_uid, before.st_gid)
        assert place.read_bytes() == b"new"

    def test_what_a_link_points_at_is_replaced(self, resident: Agent, place: Path) -> None:
        target = place.with_name("target")
        target.write_bytes(b"old")
        place.symlink_to(target)
        write(resident, place, b"new")
        assert place.is_symlink()
        assert target.read_bytes() == b"new"

    @pytest.mark.parametrize(
        ("params", "word"),
        [
            ({"sha256": "0" * 64}, "sha256"),
            ({"size": 2}, "3 bytes"),
            ({"size": None, "sha256": sha256(b"other")}, "sha256"),
        ],
    )
    def test_what_does_not_arrive_as_announced_changes_nothing(
        self, resident: Agent, place: Path, params: dict[str, object], word: str
    ) -> None:
        place.write_bytes(b"old")
        end = write(resident, place, b"new", **params).end
        subset(end, type="error", code="bad-request")
        assert word in end["message"]
        assert place.read_bytes() == b"old"
        assert leftovers(place) == []

    def test_what_comes_after_the_refusal_is_passed_over(self, resident: Agent, place: Path) -> None:
        client = resident.connect().request("write_file", path=str(place), size=3, sha256=sha256(b"another"))
        client.send(Kind.BYTES, b"one")
        client.wait_for("error")
        client.send(Kind.BYTES, b"two")
        subset(client.finish().end, code="bad-request")
        assert not place.exists()
        assert leftovers(place) == []

    def test_an_early_end_changes_nothing(self, resident: Agent, place: Path) -> None:
        client = resident.connect().request("write_file", path=str(place), size=10)
        client.send(Kind.BYTES, b"12345")
        client.send(Kind.BYTES, b"")
        subset(client.finish().end, type="error", code="bad-request")
        assert not place.exists()
        assert leftovers(place) == []

    def test_a_client_that_vanishes_changes_nothing(self, resident: Agent, place: Path) -> None:
        place.write_bytes(b"old")
        client = resident.connect().request("write_file", path=str(place), size=10)
        client.send(Kind.BYTES, b"12345")
        wait_until(lambda: leftovers(place) != [], "the new file is there")
        client.close()
        wait_until(lambda: leftovers(place) == [], "the new file is gone")
        assert place.read_bytes() == b"old"

    def test_an_agent_that_is_stopped_leaves_nothing(self, agent: Agent, tmp_path: Path) -> None:
        place = tmp_path / "dir/there"
        place.parent.mkdir()
        with agent.connect().request("write_file", path=str(place), size=10) as client:
            client.send(Kind.BYTES, b"12345")
            wait_until(lambda: leftovers(place) != [], "the new file is there")
            agent.signal(signal.SIGTERM)
            wait_until(lambda: leftovers(place) == [], "the new file is gone")
            client.send(Kind.BYTES, b"67890")
            subset(client.finish().end, type="error", code="busy")
            assert agent.wait() == 0
        assert leftovers(place) == []
        assert not place.exists()

    def test_nor_does_it_claim_to_have_sent_a_file(self, agent: Agent, tmp_path: Path) -> None:
        place = tmp_path / "there"
        place.write_bytes(bytes(50_000_000))
        with agent.connect().request("read_file", path=str(place)) as client:
            client.next()
            agent.signal(signal.SIGTERM)
            subset(client.finish().end, type="error", code="busy")
            assert agent.wait() == 0

    def test_two_at_once_are_whole(self, resident: Agent, place: Path) -> None:
        first = resident.connect().request("write_file", path=str(place), size=6)
        first.send(Kind.BYTES, b"fir")
        assert write(resident, place, b"second").end["type"] == "result"
        first.send(Kind.BYTES, b"st!")
        assert first.finish().end["type"] == "result"
        assert place.read_bytes() == b"first!"

    def test_a_full_disk_is_said(self, guest: Agent, tmp_path: Path) -> None:
        guest.setup = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
        guest.start()
        place = tmp_path / "dir/there"
        place.parent.mkdir()
        place.write_bytes(b"old")
        end = write(guest, place, bytes(300_000)).end
        subset(end, type="error", code="internal")
        assert place.read_bytes() == b"old"
        assert leftovers(place) == []

    @pytest.mark.parametrize(
        ("params", "code"),
        [
            ({"path": "relative"}, "bad-request"),
            ({"path": "/nowhere/at-all"}, "not-found"),
            ({"path": "/tmp"}, "bad-request"),
            ({"path": "/"}, "bad-request"),
            ({"path": "/dev/null"}, "bad-request"),
            ({"mode": -1}, "bad-request"),
            ({"mode": 0o10000}, "bad-request"),
            ({"mode": "0644"}, "bad-request"),
            ({"size": -1}, "bad-request"),
            ({"size": 1.5}, "bad-request"),
            ({"sha256": "short"}, "bad-request"),
        ],
    )
    def test_bad_requests(self, resident: Agent, place: Path, params: dict[str, object], code: str) -> None:
        subset(resident.call("write_file", **{"path": str(place), "size": 0, **params}).end, type="error", code=code)
        assert leftovers(place) == []
        assert not place.exists()


def test_nothing_is_left_open(resident: Agent, place: Path) -> None:
    resident.wait_for_descriptors(0)
    for number in range(20):
        write(resident, place, bytes(number))
        resident.call("read_file", path=str(place))
    resident.wait_for_descriptors(0)


def test_the_reader_may_vanish(resident: Agent, place: Path) -> None:
    place.write_bytes(bytes(10_000_000))
    client = resident.connect().request("read_file", path=str(place))
    client.read_until(lambda answer: len(answer.frames) > 1)
    client.socket.shutdown(socket.SHUT_RDWR)
    client.close()
    resident.wait_for_descriptors(0)
