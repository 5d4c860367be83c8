"""Signals that end `rum up` and its like: what is said, what goes on, and what the next command takes up."""

from __future__ import annotations

import concurrent.futures
import contextlib
import importlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host import interrupts
from rum.host.__main__ import main
from rum.host.interrupts import NotedSignals, SignalExit, deferred_signals, leaving_on_signals
from rum.host.ports.forwards import process_of
from tests.unit.host.cli.test_commands import command, json_lines, read_up_to, rum
from tests.unit.host.images.image_server import MIB, serving
from tests.unit.host.local_guest import CHECKOUT, local_guest, script_toml, wait_until
from tests.unit.host.ports.test_forwards import free_port
from tests.unit.host.user_terminal import heeding_signals, user_terminal

GOES_ON = b"""\
rum: ended by %s; the VM is left as it is, and a run in it goes on
rum: `rum up` goes on from there, `rum logs --follow` shows what the guest does meanwhile
"""


def script_that_waits_for(gate: Path) -> str:
    return script_toml("long", f"echo begun; while ! [ -e {gate} ]; do sleep 0.05; done; echo done")


def test_an_import_that_hangs_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "IMPORT_S", 0.1)
    text = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(60)\n"
    (tmp_path / "imported.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    with leaving_on_signals(), pytest.raises(KeyboardInterrupt):
        importlib.import_module("imported")


SWALLOWING = """
import os, signal, weakref
class Referred: pass
referred = Referred()
reference = weakref.ref(referred, lambda _: os.kill(os.getpid(), signal.{name}))
del referred
"""

CHANGING = """
import os, signal
class Descriptor:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), signal.{name})
class Owner:
    member = Descriptor()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("module", [SWALLOWING, CHANGING])
def test_one_that_comes_during_an_import_ends_the_block_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, number: signal.Signals
) -> None:
    (tmp_path / "imported.py").write_text(module.format(name=number.name) + "whole = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "imported", raising=False)

    def wait_for_it() -> None:
        importlib.import_module("imported")
        wait_until(lambda: False, "the signal that was put off")

    with leaving_on_signals(), pytest.raises((KeyboardInterrupt, SignalExit)):
        wait_for_it()
    assert sys.modules.pop("imported").whole


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_the_run_goes_on_and_the_next_up_shows_all_of_it(tmp_path: Path, number: signal.Signals) -> None:
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_that_waits_for(gate)) as guest:
        with subprocess.Popen(
            **command(guest, "up"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=heeding_signals
        ) as process:
            assert process.stdout
            read_up_to(process.stdout, b"long | begun\n")
            process.send_signal(number)
            _, err = process.communicate(timeout=30)
        assert (process.returncode, err) == (128 + number, GOES_ON % number.name.encode())
        gate.touch()
        done = rum(guest, "up")
        assert done.returncode == 0
        assert b"long | begun\nlong | done\n" in done.stdout
        assert len(list((guest.root / "var/lib/rum/runs").iterdir())) == 1


def test_a_window_that_is_closed_ends_it_as_well(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_that_waits_for(gate)) as guest:
        with user_terminal(command(guest, "up")) as user:
            user.wait_for(b"begun")
            user.close_window()
            assert user.process.wait(30) == 129
        gate.touch()
        assert rum(guest, "up").returncode == 0


def test_json_ends_with_done(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with local_guest(tmp_path, script_that_waits_for(gate)) as guest:
        with subprocess.Popen(
            **command(guest, "up", "-o", "json"), stdout=subprocess.PIPE, preexec_fn=heeding_signals
        ) as process:
            assert process.stdout
            assert any(b"begun" in line for line in iter(process.stdout.readline, b""))
            process.send_signal(signal.SIGTERM)
            *_, done = json_lines(process.stdout.read())
        assert (done["type"], done["ok"], done["exit"], done["error"]["code"]) == ("done", False, 143, "interrupted")
        gate.touch()


def test_control_c_while_it_boots_is_taken_up_by_the_next_up(tmp_path: Path) -> None:
    with local_guest(tmp_path, script_toml("one", "echo out"), started=False) as guest:
        with user_terminal(command(guest, "up", "-v")) as user:
            user.wait_for(b"boot ")
            user.type(b"\x03")
            assert user.finish() == 130, user.text
            assert b"interrupted\r\nrum: the VM is left as it is; the same command goes on\r\n" in user.text
            assert user.attributes() == user.before
        guest.start()
        assert rum(guest, "up").returncode == 0


@pytest.mark.parametrize(("cause", "status"), [(KeyboardInterrupt(), 130), (SignalExit(15), 143), (OSError(), 125)])
def test_a_signal_in_a_class_that_is_being_made_is_no_bug(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], cause: BaseException, status: int
) -> None:
    def interrupted() -> None:
        # Python 3.11 says it like this, from within type.__new__.
        raise RuntimeError("Error calling __set_name__ on 'x' instance") from cause

    monkeypatch.setattr("rum.host.vm_list.list_vms", interrupted)
    assert main(["list"]) == status
    assert ("bug" in capfd.readouterr().err) is (status == 125)


def test_control_c_twice_leaves_at_once(tmp_path: Path) -> None:
    """The agent gives a script that ignores SIGTERM five seconds."""
    gate = tmp_path / "gate"
    script = f"trap '' TERM; echo $$; while ! [ -e {gate} ]; do sleep 0.05; done"
    with local_guest(tmp_path, script_toml("stubborn", script)) as guest:
        with user_terminal(command(guest, "up")) as user:
            user.wait_for(b"stubborn")
            wait_until(lambda: any((guest.root / "var/lib/rum/runs").glob("*/record")), "the run")
            user.type(b"\x03")
            user.wait_for(b"press Ctrl+C again to leave at once")
            user.type(b"\x03")
            assert user.finish() == 130
            assert b"rum: interrupted\r\n" in user.text
            assert user.attributes() == user.before
        gate.touch()


HASTY = """
import os, signal, sys

class Hasty:
    "Somebody who sends a signal whenever one of these modules is looked for."
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[2].split(","):
            os.kill(os.getpid(), int(sys.argv[1]))

sys.meta_path.insert(0, Hasty())
from rum.host.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


def hasty(number: signal.Signals, modules: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A command of `rum` that gets signals while it loads these modules."""
    program = [sys.executable, "-c", HASTY, str(int(number)), modules, *arguments]
    env = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(
        program, env=env, cwd="/", capture_output=True, timeout=60, check=False, preexec_fn=heeding_signals
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_one_that_comes_while_rum_is_loaded_is_told_like_any_other(number: signal.Signals) -> None:
    done = hasty(number, "rum.host.cli.root", "status")
    how = b"interrupted" if number == signal.SIGINT else f"ended by {number.name}".encode()
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, b"", b"rum: " + how + b"\n")
    [told] = json_lines(hasty(number, "rum.host.cli.root", "-o", "json", "status").stdout)
    assert (told["type"], told["exit"]) == ("done", 128 + number)


def test_control_c_while_the_first_one_is_told_leaves_without_a_traceback() -> None:
    done = hasty(signal.SIGINT, "rum.host.cli.root,rum.host.show.render_json", "-o", "json", "status")
    # The second one is put off until that is loaded; the first may have been told by then.
    assert (done.returncode, done.stderr.removeprefix(b"rum: interrupted\n")) == (130, b"")


def test_control_c_reaches_rum_and_none_of_its_helpers(tmp_path: Path) -> None:
    """A terminal's Ctrl+C goes to the whole foreground process group."""
    toml = script_toml("long", "echo begun; exec sleep 60") + f"[[ports]]\nhost = {free_port()}\nguest = 80\n"
    with local_guest(tmp_path, toml) as guest:
        try:
            with user_terminal(command(guest, "up")) as user:
                user.wait_for(b"begun")
                [helper] = process_of(guest.paths).find()
                assert os.getpgid(helper) != user.process.pid
                user.type(b"\x03")
                assert user.finish() == 130
            assert process_of(guest.paths).find() == [helper]
        finally:
            rum(guest, "down")


def test_control_c_while_an_image_comes_leaves_what_has_come(tmp_path: Path) -> None:
    with serving() as server:
        source = tmp_path / "source.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, "1G"], check=True, timeout=60)
        content = source.read_bytes() + bytes(3 * MIB)
        server.files["a.qcow2"] = content
        server.headers["ETag"] = '"one"'
        server.stall_after = 2 * MIB
        settings = command(None, "image", "pull", f"{server.base}/a.qcow2")
        settings["env"]["XDG_CACHE_HOME"] = str(tmp_path)
        with user_terminal(settings) as user:
            wait_until(lambda: any(part.stat().st_size > MIB for part in tmp_path.rglob("*.part")), "the first bytes")
            user.type(b"\x03")
            assert user.finish() == 130
            assert b"rum: interrupted\r\n" in user.text
        server.stall_after = None
        done = subprocess.run(**settings, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        path, ranged = server.requests[-1]
        assert (path, ranged != "") == ("/a.qcow2", True)
        [image] = tmp_path.rglob("rum/images/*.qcow2")
        assert image.read_bytes() == content


def test_the_connection_of_ssh_says_nothing_of_a_control_c_that_is_meant_for_ssh(tmp_path: Path) -> None:
    with local_guest(tmp_path) as guest, tcp_server() as port:
        settings = command(guest, "proxy", str(port))
        with subprocess.Popen(
            **settings,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=heeding_signals,
        ) as process:
            assert process.stdout
            assert process.stdout.readline() == b"hello\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[1] == b""
        assert process.returncode == 130


@contextlib.contextmanager
def tcp_server() -> Iterator[int]:
    """A server that says hello to whoever comes, and nothing more; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener, concurrent.futures.ThreadPoolExecutor() as pool:
        client = pool.submit(listener.accept)
        greeting = pool.submit(lambda: client.result()[0].sendall(b"hello\n"))
        yield listener.getsockname()[1]
        greeting.result()
        client.result()[0].close()


class TestHandlers:
    def test_deferred_ones_count_at_the_end(self) -> None:
        order: list[str] = []

        def act() -> None:
            with deferred_signals():
                signal.raise_signal(signal.SIGTERM)
                order.append("not cut in two")

        with leaving_on_signals(), pytest.raises(SignalExit) as caught:
            act()
        assert (order, caught.value.number, caught.value.code) == (["not cut in two"], signal.SIGTERM, 143)

    def test_noted_ones_make_their_descriptor_readable(self) -> None:
        with NotedSignals([signal.SIGUSR1, signal.SIGUSR2]) as noted:
            assert noted.take() == []
            for number in (signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
                signal.raise_signal(number)
            assert noted.take() == [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2]
            assert noted.take() == []

    def test_what_is_ignored_stays_ignored(self) -> None:
        before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            with NotedSignals([signal.SIGUSR1]) as noted:
                signal.raise_signal(signal.SIGUSR1)
                assert noted.take() == []
            assert signal.getsignal(signal.SIGUSR1) is signal.SIG_IGN
        finally:
            signal.signal(signal.SIGUSR1, before)
