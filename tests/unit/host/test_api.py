"""rum for Python programs, with the real agent: what a command gets, what is known of its end, and what is raised."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rum.host
from rum.host import Completed, ConfigError, GuestError, GuestVm, open_guest
from rum.host.api import unheard
from tests.unit.agent.harness import is_running
from tests.unit.host.local_guest import LocalGuest, local_guest, wait_until


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    """One guest for all tests that leave it as it was."""
    with local_guest(tmp_path_factory.mktemp("api")) as guest:
        yield guest


@pytest.fixture
def guest(local: LocalGuest) -> GuestVm:
    return GuestVm(local, unheard)


def sh(script: str) -> list[str]:
    return ["sh", "-c", script]


class TestEnd:
    def test_of_a_command_that_does_well(self, guest: GuestVm) -> None:
        done = guest.run(["echo", "fine"])
        assert done == Completed(0, None, False, b"fine\n", b"")
        assert done.ok
        assert done.text == "fine"
        assert done.status == 0

    def test_of_one_that_fails_is_no_error(self, guest: GuestVm) -> None:
        done = guest.run(sh("echo out; echo err >&2; exit 3"))
        assert done == Completed(3, None, False, b"out\n", b"err\n")
        assert not done.ok

    def test_by_a_signal(self, guest: GuestVm) -> None:
        done = guest.run(sh("kill -9 $$"))
        assert (done.exit_code, done.signal, done.status, done.ok) == (None, 9, 137, False)

    def test_when_the_time_is_up(self, guest: GuestVm) -> None:
        done = guest.run(["sleep", "300"], timeout_s=0.1)
        assert done.timed_out
        assert not done.ok
        assert done.status == 124

    def test_before_the_beginning(self, guest: GuestVm) -> None:
        done = guest.run(["no-such-program"])
        assert done.exit_code == 127
        assert b"no-such-program: no such file" in done.stderr


class TestGiven:
    @pytest.mark.parametrize("size", [0, 1, 3_000_000])
    def test_input_arrives_whole(self, guest: GuestVm, size: int) -> None:
        data = os.urandom(size)
        assert guest.run(["sha256sum"], stdin=data).text.split()[0] == hashlib.sha256(data).hexdigest()

    def test_directory_and_environment(self, guest: GuestVm, tmp_path: Path) -> None:
        done = guest.run(sh('pwd; echo "$WORD"'), cwd=str(tmp_path), env={"WORD": "two words"})
        assert done.text == f"{tmp_path}\ntwo words"

    def test_who_takes_the_output_gets_it_as_it_comes(self, guest: GuestVm) -> None:
        seen: list[tuple[str, bytes]] = []
        done = guest.run(sh("echo out; echo err >&2"), output=lambda stream, _when, data: seen.append((stream, data)))
        assert sorted(seen) == [("stderr", b"err\n"), ("stdout", b"out\n")]
        assert (done.stdout, done.stderr) == (b"", b"")

    def test_a_user_that_there_is_not(self, guest: GuestVm) -> None:
        done = guest.run(["true"], user="nobody-of-this-name")
        assert done.exit_code == 126
        assert b"there is no user" in done.stderr

    @pytest.mark.parametrize("argv", [[], ["a\0b"]])
    def test_what_cannot_be_run_is_refused(self, guest: GuestVm, argv: list[str]) -> None:
        with pytest.raises(GuestError, match="the agent refused: argv"):
            guest.run(argv)


class TestErrors:
    @pytest.mark.parametrize(
        ("argv", "settings", "said"),
        [
            (["echo", "\ud800"], {}, "cannot be spelled in bytes"),
            (["echo", "x" * 17_000_000], {}, "over 4 MiB"),
            (["true"], {"env": {"A": "\ud800"}}, "cannot be spelled in bytes"),
            (["true"], {"timeout_s": float("nan")}, "is no number of seconds"),
            (["true"], {"timeout_s": -1}, "is no number of seconds"),
        ],
    )
    def test_what_cannot_be_sent_is_a_sentence(
        self, guest: GuestVm, argv: list[str], settings: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(ConfigError, match=said):
            guest.run(argv, **settings)

    def test_a_caller_that_is_interrupted_ends_the_command(self, guest: GuestVm) -> None:
        pids: list[int] = []

        def interrupt(_stream: str, _when: int, data: bytes) -> None:
            pids.append(int(data))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            guest.run(sh("echo $$; exec sleep 300"), output=interrupt)
        wait_until(lambda: not is_running(pids[0]), "the command to be stopped")

    def test_a_guest_that_is_lost(self, tmp_path: Path) -> None:
        lost = pytest.raises(GuestError, match="the connection to the agent ended before the result")
        with local_guest(tmp_path) as local, lost:
            GuestVm(local, unheard).run(sh("echo; sleep 2"), output=lambda *_: local.stop(kill=True))

    def test_a_vm_that_does_not_run(self, tmp_path: Path) -> None:
        with local_guest(tmp_path, started=False) as local:
            local.running = False
            with pytest.raises(GuestError, match="VM demo is stopped") as caught:
                GuestVm(local, unheard).run(["true"])
        assert caught.value.hint == "run `rum up` first"

    def test_no_rum_toml(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigError, match=r"there is no rum\.toml in"):
            open_guest()
        with pytest.raises(ConfigError, match="there is no file"):
            open_guest(tmp_path / "nowhere.toml")


def test_a_rum_toml_above_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rum.toml").write_text('[image]\nbase = "debian-12"\n', encoding="utf-8")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert open_guest().name == open_guest(tmp_path / "rum.toml").name


def test_threads_may_share_a_guest(guest: GuestVm) -> None:
    said: dict[int, str] = {}

    def ask(number: int) -> None:
        said[number] = guest.run(["echo", str(number)]).text

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said == {number: str(number) for number in range(8)}


def test_every_name_of_the_facade_is_there() -> None:
    assert [name for name in rum.host.__all__ if not hasattr(rum.host, name)] == []
