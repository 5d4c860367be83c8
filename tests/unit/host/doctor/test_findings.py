"""Findings that need a host unlike this one: little room, a long path, a libvirt or a server that never answers."""

from __future__ import annotations

import dataclasses
import http.server
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.config.load import load_config
from rum.host.config.model import Config
from rum.host.doctor import libvirt, machine, programs, project
from rum.host.doctor.examination import CHECKS, Check, Result, conclusion, examine, looked
from rum.host.doctor.finding import Finding, Host, Status
from rum.host.errors import HostError
from rum.host.images.catalogue import catalogue_image
from rum.host.vm.accelerator import Accelerator, AcceleratorChoice
from rum.host.vm.architecture import default_architecture, host_architecture


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))
    monkeypatch.setenv("LIBVIRT_DEFAULT_URI", "test:///default")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "rum.toml").write_text('[image]\nbase = "debian-12"\n')
    return load_config(tmp_path / "rum.toml")


def test_a_libvirt_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "libvirt.py").write_text(f"open({str(tmp_path / 'fifo')!r}).read()\n")
    checkout = Path(__file__).resolve().parents[4]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{checkout}")
    found = libvirt.libvirt(Host(libvirt_timeout_s=1.0))
    assert (found.status, found.found) == (Status.MISSING, "libvirt has not answered within 1 s")


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1 << 40, 1 << 40, 1 << 30))
    found = machine.disk(Host())
    assert found.status is Status.MISSING
    assert found.found.startswith("1 GiB free under ")
    assert "rum image remove --unused" in (found.fix or "")


def test_disks_that_may_outgrow_the_host(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(1 << 40, 0, 10 << 30))
    found = machine.disk(Host(config))
    assert (found.status, found.fix) == (
        Status.OPTIONAL,
        "keep an eye on it: the disks of this VM may grow to 20 GiB",
    )


def test_little_memory(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    assert machine.memory(Host(config)) is None
    (tmp_path / "meminfo").write_text("MemTotal:  4194304 kB\nMemAvailable:  1048576 kB\n")
    found = machine.memory(Host(config))
    assert found
    assert (found.status, found.found) == (Status.SLOWER, "1 GiB are available, the VM has 2 GiB")


def test_a_runtime_directory_that_is_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 100)))
    found = machine.sockets(Host())
    assert found.status is Status.MISSING
    assert "is longer than the 107 bytes that Linux allows" in found.found


def test_a_host_without_kvm_is_slower_and_one_that_must_have_it_cannot(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "KVM_DEVICE", tmp_path / "kvm")
    monkeypatch.setattr(
        machine, "choose_accelerator", lambda _wanted: AcceleratorChoice(Accelerator.TCG, "there is no kvm")
    )
    found = machine.accelerator(Host())
    assert (found.status, found.found) == (Status.SLOWER, "tcg: there is no kvm")
    assert found.fix
    asked_for = dataclasses.replace(config, advanced=dataclasses.replace(config.advanced, accelerator="tcg"))
    assert machine.accelerator(Host(asked_for)).status is Status.OK

    def refuse(_wanted: str) -> AcceleratorChoice:
        raise HostError("no", hint="do it")

    monkeypatch.setattr(machine, "choose_accelerator", refuse)
    assert machine.accelerator(Host()) == Finding(Status.MISSING, "no", "do it")


def test_a_qemu_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / f"qemu-system-{default_architecture().name}"
    program.write_text("#!/bin/sh\necho 'cannot open libfoo.so' >&2; exit 127\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = programs.qemu(Host())
    assert found.status is Status.MISSING
    assert found.found == f"{program} does not say its version, so it may not run at all"


def test_a_user_who_can_make_no_namespace(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "unshare").write_text("#!/bin/sh\necho 'unshare: Operation not permitted' >&2; exit 1\n")
    (tmp_path / "unshare").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    found = programs.user_namespaces(Host())
    assert found.status is Status.OPTIONAL
    assert found.found == "this user cannot make one: Operation not permitted"
    assert "allow user namespaces" in (found.fix or "")


class Server(http.server.BaseHTTPRequestHandler):
    """Has every file whose name does not begin with `no`."""

    def do_HEAD(self) -> None:
        self.send_response(404 if self.path.startswith("/no") else 200)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()
        thread.join()


def test_an_image_that_can_be_had(config: Config, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUM_IMAGE_MIRROR", f"{server}/images/")
    found = project.image(Host(config))
    assert found == Finding(Status.OK, f"debian-12 will be downloaded from {server}/images/SHA512SUMS")
    monkeypatch.setenv("RUM_IMAGE_MIRROR", f"{server}/none")
    found = project.image(Host(config))
    assert found
    assert found.status is Status.MISSING
    assert "the server answers 404" in found.found
    assert "RUM_IMAGE_MIRROR" in (found.fix or "")


def test_a_server_that_never_answers(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "NETWORK_TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", f"http://127.0.0.1:{silent.getsockname()[1]}")
        found = project.image(Host(config))
    assert found
    assert found.status is Status.MISSING


def test_an_image_of_a_mirror_that_is_a_directory(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUM_IMAGE_MIRROR", str(tmp_path))
    found = project.image(Host(config))
    assert found
    assert found.status is Status.MISSING
    file = tmp_path / catalogue_image("debian-12", host_architecture()).file
    file.touch()
    assert project.image(Host(config)) == Finding(Status.OK, f"debian-12 is in {file}")


def test_a_check_that_fails_is_a_finding() -> None:
    def fail(_host: Host) -> Finding:
        raise PermissionError(13, "Permission denied", "/proc/x")

    found = looked(Check("x", "why", fail), Host())
    assert found
    assert found.status is Status.MISSING
    assert "Permission denied" in found.found


def result(status: Status) -> Result:
    return Result(Check("libvirt", "why", lambda _host: None), Finding(status, "found"))


def test_sentences_are_wrapped_to_the_terminal_and_commands_are_not() -> None:
    fix = "install it: sudo apt-get install qemu-system-x86 qemu-utils libvirt-daemon"
    found = Result(Check("qemu", "it " * 30, lambda _host: None), Finding(Status.MISSING, "word " * 20, fix))
    lines = found.lines(60)
    assert [line for line in lines if len(line) > 60] == [line for line in lines if fix in line] != []
    assert lines[1].startswith(" " * 27 + "word")
    assert len(found.lines()) == 4


def test_the_conclusion() -> None:
    assert conclusion([result(Status.OK)]).text == "`rum up` can work here"
    assert conclusion([result(Status.SLOWER), result(Status.OPTIONAL)]).text == (
        "`rum up` can work here, slower than it could, without 1 thing that some VMs need"
    )
    with pytest.raises(HostError, match=r"cannot work here yet, because of libvirt$"):
        conclusion([result(Status.MISSING)])


def test_one_command_installs_what_can_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.freedesktop_os_release", lambda: {"ID": "fedora"})
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    check = Check("qemu", "why", lambda _host: None)
    wrong = [Result(check, Finding(Status.MISSING, "x", "y", needs)) for needs in (("ssh",), ("qemu",), ("ssh",))]
    with pytest.raises(HostError) as caught:
        conclusion(wrong)
    assert (caught.value.hint or "").startswith("install it: dnf install openssh-clients qemu-kvm; ")
    with pytest.raises(HostError) as caught:
        conclusion(wrong[:1])
    assert "dnf" not in (caught.value.hint or "")


def test_every_check_says_why_it_matters() -> None:
    assert [check.name for check in CHECKS if not check.why] == []
    assert len({check.name for check in CHECKS}) == len(CHECKS)
    statuses = [found.finding.status for found in examine(Host())]
    assert statuses == sorted(statuses, key=list(Status).index)
