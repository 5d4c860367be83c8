from __future__ import annotations

from pathlib import Path

import pytest

from rum.host.console import diagnose, is_hopeless, read_console


def test_lines_come_without_control_characters(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"\x1b[2J\x1b[01;01H\x1b[0;32m  OK  \x1b[0m Started\r\n\r\n\xff\x07end")
    assert read_console(log) == ["  OK   Started", "\ufffdend"]


def test_only_what_came_after_the_last_start_counts(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"before\nafter\n")
    assert read_console(log, 7) == ["after"]


def test_a_log_that_was_rotated_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"new\n")
    assert read_console(log, 1000) == ["new"]


def test_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "console.log"
    log.write_bytes(b"x" * 100 + b"\n" + b"line\n" * 300_000 + b"last\n")
    lines = read_console(log)
    assert len(lines) < 300_000
    assert lines[-1] == "last"


def test_no_log_is_no_lines(tmp_path: Path) -> None:
    assert read_console(tmp_path / "none") == []


NO_DRIVER = "rum-agent: there is no virtio-vsock driver in this kernel, so nobody can reach the agent"
REFUSED = "rum-agent: cannot listen at vsock:2222:"


@pytest.mark.parametrize(
    ("console", "sentence"),
    [
        ("", "the guest has printed nothing on its serial console: no boot loader or kernel has started"),
        ("Booting from Hard Disk...\nNo bootable device.", "the image has no boot loader for this firmware"),
        (
            "[    1.0] Kernel panic - not syncing: VFS: Unable to mount root fs",
            "the guest's kernel panicked: VFS: Unable to mount root fs",
        ),
        (
            "Fatal glibc error: CPU does not support x86-64-v3",
            "the image needs a newer CPU (x86-64-v3) than the emulated one; it needs KVM, or a name of the catalogue",
        ),
        ("UEFI Interactive Shell v2.2", 'the image has no EFI boot loader; try firmware = "bios"'),
        ("error: no such partition.\nEntering rescue mode...\ngrub rescue>", "the guest's boot loader failed"),
        ("Gave up waiting for root file system device.", "the guest's kernel does not find its root file system"),
        ("You are in emergency mode. After logging in", "the guest's systemd is in emergency mode"),
        (
            "[ 9.1] Out of memory: Killed process 300 (python3)",
            "the guest ran out of memory; raise resources.memory_mb",
        ),
        ("Failed to locate executable /usr/bin/python3: No such file or directory", "the guest has no Python 3"),
        (
            "[ 35.0] python3[300]: rum-agent: cannot read the key /etc/rum/key: gone\ndev login: ",
            "the agent in the guest does not start: rum-agent: cannot read the key /etc/rum/key: gone",
        ),
        (
            f"[   44.2] python3[441]: {NO_DRIVER}\ndev login: ",
            (
                "the guest's kernel has no virtio-vsock driver, module vmw_vsock_virtio_transport: "
                "nobody can reach its agent"
            ),
        ),
        (
            f"[   31.7] python3[402]: {REFUSED} [Errno 97] Address family not supported by protocol\ndev login: ",
            "the guest has no AF_VSOCK: its kernel lacks the module vsock, or RestrictAddressFamilies= hides it",
        ),
        (
            f"[   31.7] python3[402]: {REFUSED} [Errno 13] Permission denied\ndev login: ",
            (
                "the guest does not let its agent use vsock (Permission denied); "
                "SELinux or a seccomp filter in the image may forbid it"
            ),
        ),
        (
            (
                "[   32.002082] cloud-init[253]: OSError: [Errno 30] Read-only file system: '/var/lib/cloud'\n"
                "[FAILED] Failed to start cloud-init…l cloud-init job (pre-networking).\ndev login: "
            ),
            (
                "the guest's root file system is read-only, so cloud-init cannot install the agent; "
                "see the image's /etc/fstab"
            ),
        ),
        (
            f"[   31.7] python3[402]: {REFUSED} [Errno 98] Address already in use\ndev login: ",
            f"the agent in the guest does not start: {REFUSED} [Errno 98] Address already in use",
        ),
        (
            "[    0.0] Linux version 6.1\ndev login: ",
            (
                "the guest has booted to its login prompt without cloud-init, so nothing has installed the agent; "
                "the image needs cloud-init and Python 3"
            ),
        ),
        (
            "cloud-init[300]: running 'init-local'\ndev login: ",
            "the guest has booted to its login prompt, but its agent does not answer",
        ),
        (
            "cloud-init[300]: running 'init-local'\ndev login: rum (automatic login)",
            "the guest has booted to its login prompt, but its agent does not answer",
        ),
        (
            "cloud-init[257]: failed run of stage init-local\nFailed to start cloud-init-local.service",
            "cloud-init failed before it could install the agent, as it does after a power loss in its first run",
        ),
        ("[   99.1] reboot: Power down", "the guest has shut itself down"),
        ("[    0.0] Linux version 6.1", "the guest's kernel has started, but the guest is not up yet"),
        ("SeaBIOS (version 1.16)", "the guest has not come further than: SeaBIOS (version 1.16)"),
    ],
)
def test_a_console_becomes_a_sentence(console: str, sentence: str) -> None:
    assert diagnose(console.splitlines()) == sentence


FAILED = "[   98.1] cloud-init[257]: 2026-11-26 11:58:21,566 - util.py[WARNING]: failed stage init-local"
FINISHED = (
    "[  283.3] cloud-init[341]: Cloud-init v. 22.4.2 finished at Thu, 26 Nov 2026 12:01:26 +0000. Datasource None"
)


def test_a_guest_is_hopeless_once_cloud_init_has_failed_and_finished() -> None:
    assert is_hopeless([FAILED, "dev login:", FINISHED])
    assert not is_hopeless([FAILED, "dev login:"])
    assert not is_hopeless([FINISHED])


DENIED = f"{REFUSED} [Errno 13] Permission denied"
KERNEL = "[    0.000000] Linux version 6.1.0-56-cloud-amd64"


def test_a_guest_is_hopeless_once_its_agent_was_refused_vsock_again_and_again() -> None:
    assert is_hopeless([KERNEL, DENIED, "dev login:", DENIED, DENIED])
    assert not is_hopeless([KERNEL, DENIED, "dev login:", DENIED])
    assert not is_hopeless([KERNEL, *3 * [f"{REFUSED} [Errno 98] Address already in use"]])


def test_only_the_last_boot_can_be_hopeless() -> None:
    assert not is_hopeless([KERNEL, *3 * [DENIED], FAILED, FINISHED, KERNEL, "dev login:"])
    assert is_hopeless([KERNEL, KERNEL, *3 * [DENIED]])
