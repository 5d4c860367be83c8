"""`rum ssh`, `rum ssh-config` and the command that ssh's ProxyCommand is, up to a guest's sshd, which is e2e's."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import cast

import pytest

from rum.host import remedies, ssh
from rum.host.deadlines import Deadline
from rum.host.errors import GuestError, HostError
from rum.host.vm.known import KnownVm
from tests.unit.agent.tcp_servers import digest, echo, free_port, reset, serving
from tests.unit.host.cli.test_commands import command, rum
from tests.unit.host.local_guest import LocalGuest, Seen, local_guest
from tests.unit.host.ports.test_forwards import play

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPVmz0Gg/4NWyAX7SlzlO0tsUkxhAd1xcTAzMTT1Bd9B"


def give_host_keys(guest: LocalGuest, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """Have these be the guest's host keys."""
    file = guest.directory / "ssh_host_any_key.pub"
    file.write_text("".join(f"{line}\n" for line in lines))
    monkeypatch.setattr(ssh, "HOST_KEY_FILES", str(file))


def parsed(config: Path, host: str) -> dict[str, str]:
    """What ssh itself makes of a configuration."""
    done = subprocess.run(["ssh", "-G", "-F", config, host], capture_output=True, text=True, check=True, timeout=30)
    return {name: value for name, _, value in (line.partition(" ") for line in done.stdout.splitlines())}


class TestConfig:
    """What is said to ssh."""

    def test_ssh_reads_it_as_it_was_meant_whatever_the_paths_are(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", "/a b/100%")
        for name in ("XDG_RUNTIME_DIR", "PYTHONPATH"):
            monkeypatch.delenv(name, raising=False)
        directory = tmp_path / "it's a 50% off"
        with local_guest(directory, '[user]\nname = "me"\n', started=False) as guest:
            config = tmp_path / "config"
            config.write_text("\n".join(ssh.config_block(cast(KnownVm, guest))) + "\n")
            found = parsed(config, "demo")
            name = guest.config.domain_name
            assert (found["user"], found["hostkeyalias"], found["hostname"]) == ("me", name, name)
            assert found["stricthostkeychecking"] in ("yes", "true")
            assert (found["identitiesonly"], found["globalknownhostsfile"]) == ("yes", "/dev/null")
            # ssh -G shows them before it expands percent signs.
            assert found["userknownhostsfile"].replace("%%", "%") == str(guest.paths.known_hosts)
            assert found["identityfile"].replace("%%", "%") == str(guest.paths.ssh_key)
            shell = found["proxycommand"].replace("%%", "%")
            printed = subprocess.run(
                ["sh", "-c", f"printf '%s\\n' {shell}"], capture_output=True, text=True, check=True, timeout=30
            )
            words = printed.stdout.splitlines()
            assert words[:2] == ["env", "XDG_STATE_HOME=/a b/100%"]
            assert words[-5:] == ["-c", str(guest.config.path), "proxy", "--known-hosts", "22"]

    def test_the_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with local_guest(tmp_path) as guest:
            give_host_keys(guest, monkeypatch, KEY)
            play(guest, 22)
            program, words = ssh.ssh_command(cast(KnownVm, guest), Seen(), ("-L", "1:2", "uname", "-a"))
            assert Path(program).name == words[0] == "ssh"
            assert words[-5:] == [guest.config.domain_name, "-L", "1:2", "uname", "-a"]
            assert "-oStrictHostKeyChecking=yes" in words

    def test_without_ssh_there_is_a_hint(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with local_guest(tmp_path, started=False) as guest:
            monkeypatch.setenv("PATH", str(tmp_path))
            with pytest.raises(HostError, match="no ssh in PATH") as caught:
                ssh.ssh_command(cast(KnownVm, guest), Seen(), ())
            assert caught.value.hint == remedies.install("ssh")

    @pytest.mark.parametrize("name", ["ssh", "ssh-config"])
    def test_a_vm_that_does_not_run(self, tmp_path: Path, name: str) -> None:
        with local_guest(tmp_path, started=False) as guest:
            guest.running = False
            done = rum(guest, name)
            assert (done.returncode, done.stdout) == (4, b"")
            assert done.stderr.splitlines() == [b"rum: VM demo is stopped", b"rum: run `rum up` first"]


class TestHostKeys:
    """ssh knows the guest by what the agent reads, and by nothing else."""

    def test_they_are_noted_under_the_domains_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with local_guest(tmp_path) as guest:
            play(guest, 22)
            give_host_keys(guest, monkeypatch, f"{KEY} root@guest", "@cert-authority * evil", "", "ssh-rsa AAAA *\x01")
            ssh.await_sshd(guest, Seen())
            name = guest.config.domain_name
            assert guest.paths.known_hosts.read_text() == f"{name} {KEY}\n{name} ssh-rsa AAAA\n"
            assert guest.paths.known_hosts.stat().st_mode & 0o777 == 0o600
            give_host_keys(guest, monkeypatch, KEY)
            ssh.await_sshd(guest, Seen())
            assert guest.paths.known_hosts.read_text() == f"{guest.config.domain_name} {KEY}\n"

    @pytest.mark.parametrize(
        ("keys", "ports", "missing"),
        [((), (22,), "it has no host keys"), ((KEY,), (2222,), "nobody listens at port 22 of its loopback")],
    )
    def test_an_sshd_that_does_not_come_is_one_sentence(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        keys: tuple[str, ...],
        ports: tuple[int, ...],
        missing: str,
    ) -> None:
        with local_guest(tmp_path) as guest:
            monkeypatch.setattr(ssh, "patience", lambda _guest: Deadline(0.05))
            give_host_keys(guest, monkeypatch, *keys)
            play(guest, *ports)
            with pytest.raises(GuestError, match=f"no sshd answers in VM demo after 0 s: {missing}"):
                ssh.await_sshd(guest, Seen())


class TestProxy:
    """Standard input and output as one end of a connection."""

    def test_both_directions_and_their_ends(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 4096
        with local_guest(tmp_path) as guest:
            with serving(echo) as port:
                done = rum(guest, "proxy", str(port), given=data)
                assert (done.returncode, done.stderr) == (0, b"")
                assert done.stdout == data
            with serving(digest) as port:
                assert len(rum(guest, "proxy", str(port), given=data).stdout) == 64

    def test_how_it_fails(self, tmp_path: Path) -> None:
        with local_guest(tmp_path) as guest:
            with free_port() as port:
                done = rum(guest, "proxy", str(port))
                assert done.returncode == 4
                assert f"nobody listens at port {port}" in done.stderr.decode()
            with serving(reset) as port:
                done = rum(guest, "proxy", str(port), given=b"x")
                assert done.returncode == 4
                assert done.stderr.decode() == f"rum: the connection to the guest's port {port} was reset\n"

    def test_a_reader_that_goes_ends_it(self, tmp_path: Path) -> None:
        with (
            local_guest(tmp_path) as guest,
            serving(echo) as port,
            subprocess.Popen(
                **command(guest, "proxy", str(port)), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            ) as process,
        ):
            assert process.stdin
            assert process.stdout
            process.stdin.write(b"x")
            process.stdin.flush()
            assert process.stdout.read(1) == b"x"
            process.stdout.close()
            process.stdin.write(b"y")
            process.stdin.flush()
            assert process.wait(20) == 141
