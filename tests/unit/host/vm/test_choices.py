"""The accelerator and the transport, and what is said about the choice."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rum.host import remedies
from rum.host.channel.endpoint import Transport
from rum.host.channel.transport import CID_MAX, CID_MIN, VHOST_VSOCK_DEVICE, choose_transport, cid_candidates
from rum.host.errors import HostError
from rum.host.vm.accelerator import Accelerator, choose_accelerator

NO_FLAGS = "processor\t: 0\nflags\t\t: fpu sse2 hypervisor\n"
SVM = "processor\t: 0\nflags\t\t: fpu svm sse2\nbugs\t\t: none\n"
VMX = "flags\t\t: vmx\n"


@pytest.fixture
def device(tmp_path: Path) -> Path:
    """A device that can be opened."""
    path = tmp_path / "device"
    path.touch()
    return path


def cpuinfo(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cpuinfo"
    path.write_text(text)
    return path


class TestAccelerator:
    @pytest.mark.parametrize("flags", [SVM, VMX])
    def test_kvm_where_the_device_opens_and_the_cpu_has_it(self, tmp_path: Path, device: Path, flags: str) -> None:
        assert choose_accelerator("auto", device, cpuinfo(tmp_path, flags)).accelerator is Accelerator.KVM

    def test_a_device_without_the_cpu_is_not_enough(self, tmp_path: Path, device: Path) -> None:
        choice = choose_accelerator("auto", device, cpuinfo(tmp_path, NO_FLAGS))
        assert (choice.accelerator, choice.reason) == ("tcg", "the CPU has no vmx or svm")

    def test_a_cpu_without_the_device_is_not_enough(self, tmp_path: Path) -> None:
        choice = choose_accelerator("auto", tmp_path / "none", cpuinfo(tmp_path, SVM))
        assert (choice.accelerator, choice.reason) == ("tcg", f"there is no {tmp_path}/none")

    def test_an_arm_cpu_lists_no_such_feature_and_needs_none(self, tmp_path: Path, device: Path) -> None:
        arm = cpuinfo(tmp_path, "processor\t: 0\nFeatures\t: fp asimd evtstrm\n")
        assert choose_accelerator("auto", device, arm).accelerator is Accelerator.KVM

    def test_tcg_can_be_asked_for(self, tmp_path: Path, device: Path) -> None:
        assert choose_accelerator("tcg", device, cpuinfo(tmp_path, SVM)).accelerator is Accelerator.TCG

    def test_kvm_that_cannot_work_is_an_error_with_a_hint(self, tmp_path: Path, device: Path) -> None:
        with pytest.raises(HostError, match="the CPU has no vmx or svm") as caught:
            choose_accelerator("kvm", device, cpuinfo(tmp_path, NO_FLAGS))
        assert caught.value.hint


class TestTransport:
    @pytest.fixture(autouse=True)
    def programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
        self.daemon(tmp_path, "0.3.0")

    def daemon(self, tmp_path: Path, version: str) -> Path:
        path = tmp_path / "bin" / "vhost-device-vsock"
        path.write_text(f"#!/bin/sh\necho vhost-device-vsock {version}\n")
        path.chmod(0o755)
        return path

    def test_the_kernel_s_own_comes_first(self, device: Path) -> None:
        choice = choose_transport("auto", device)
        assert (choice.transport, choice.program) == (Transport.VHOST_VSOCK, None)

    def test_the_daemon_is_used_where_the_kernel_has_none(self, tmp_path: Path) -> None:
        choice = choose_transport("auto", tmp_path / "none")
        assert choice.transport is Transport.VHOST_USER
        assert choice.program == tmp_path / "bin" / "vhost-device-vsock"
        assert choice.reason == f"there is no {tmp_path}/none"

    def test_the_daemon_can_be_asked_for(self, device: Path) -> None:
        assert choose_transport("vhost-user", device).transport is Transport.VHOST_USER

    def test_the_kernel_s_own_can_be_missing(self, tmp_path: Path) -> None:
        with pytest.raises(HostError, match=r'advanced\.transport is "vhost-vsock", but there is no') as caught:
            choose_transport("vhost-vsock", tmp_path / "none")
        assert "modprobe vhost_vsock" in (caught.value.hint or "")

    @pytest.mark.parametrize("version", ["0.2.9", "0.1.0", "unknown"])
    def test_an_old_daemon_is_refused(self, tmp_path: Path, version: str) -> None:
        self.daemon(tmp_path, version)
        with pytest.raises(HostError, match=r"rum needs 0\.3\.0 or newer"):
            choose_transport("auto", tmp_path / "none")

    @pytest.mark.parametrize("version", ["0.3.1", "0.10.0", "1.0.0"])
    def test_a_newer_daemon_is_taken(self, tmp_path: Path, version: str) -> None:
        self.daemon(tmp_path, version)
        assert choose_transport("auto", tmp_path / "none").transport is Transport.VHOST_USER

    def test_nothing_at_all_says_how_to_install_it(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(HostError, match="so the guest cannot be reached") as caught:
            choose_transport("auto", tmp_path / "none")
        assert caught.value.hint == remedies.any_transport(VHOST_VSOCK_DEVICE)


def test_cids_hang_on_the_vm_and_stay_within_bounds() -> None:
    first = list(itertools.islice(cid_candidates("a"), 100))
    assert first == list(itertools.islice(cid_candidates("a"), 100))
    assert len(set(first)) == 100
    assert next(cid_candidates("b")) != first[0]
    assert all(CID_MIN <= cid <= CID_MAX for cid in first)
