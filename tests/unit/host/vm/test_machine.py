"""The life of a VM with everything real but the hypervisor, which is libvirt's own test driver."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from rum.host.channel.endpoint import UnixEndpoint, VsockEndpoint
from rum.host.channel.transport import cid_candidates
from rum.host.config.load import load_config
from rum.host.errors import ConfigError, HostError
from rum.host.events import Event, Notice, Phase
from rum.host.guest.drives import drives_script
from rum.host.qemu_img import image_info
from rum.host.runs.console_log import console_log
from rum.host.store import VmLock
from rum.host.vm import domain_xml, removal, vhost_user, virtiofsd, vm_files
from rum.host.vm.daemons import Daemon
from rum.host.vm.helpers import stop_daemons
from rum.host.vm.known import KnownVm
from rum.host.vm.libvirt_driver import LibvirtDriver
from rum.host.vm.libvirt_errors import CidInUseError
from rum.host.vm.machine import Machine

TOML = """
[image]
base = "base.qcow2"
[resources]
disk = "64M"
[drives.data]
size = "8M"
[advanced]
libvirt_uri = "test:///default"
accelerator = "tcg"
transport = "vhost-user"
"""


def build_for_the_test_driver(spec: domain_xml.DomainSpec) -> str:
    return domain_xml.build_domain_xml(spec).replace('<domain type="qemu"', '<domain type="test"', 1)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a rum.toml and an image; its VM is gone afterwards."""
    monkeypatch.setattr("rum.host.vm.domain_start.build_domain_xml", build_for_the_test_driver)
    for name in ("state", "cache"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    directory = tmp_path / "project"
    directory.mkdir()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", directory / "base.qcow2", "16M"], check=True)
    (directory / "rum.toml").write_text(TOML)
    # The test driver forgets its domains with the last connection.
    connection = libvirt.open("test:///default")
    with tempfile.TemporaryDirectory(prefix="rum-") as runtime:
        monkeypatch.setenv("XDG_RUNTIME_DIR", runtime)
        yield directory
        stop_daemons(machine(directory).paths)
    connection.close()


def machine(project: Path, events: list[Event] | None = None) -> Machine:
    return Machine(load_config(project / "rum.toml"), (events if events is not None else []).append)


FILESYSTEM = """
[[fs.ext4]]
drive = "data"
target = "/data"
"""


def disks_of(vm: Machine) -> list[str]:
    """The files of the domain's disks, the seed's without its hash."""
    domain = domain_of(vm)
    assert domain is not None
    files = re.findall(r"<source file='([^']*)'", domain.XMLDesc(0))
    return [re.sub(r"seed-.*", "seed", Path(file).name) for file in files]


def domain_of(vm: Machine) -> libvirt.virDomain | None:
    found = [
        domain for domain in libvirt.open("test:///default").listAllDomains() if domain.name() == vm.config.domain_name
    ]
    return found[0] if found else None


def edit(project: Path, old: str, new: str) -> None:
    text = (project / "rum.toml").read_text()
    assert old in text
    (project / "rum.toml").write_text(text.replace(old, new))


def phases(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.name, event.status) for event in events if isinstance(event, Phase)]


def warnings(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Notice) and event.warning]


def test_a_new_vm_is_created_and_booted(project: Path) -> None:
    events: list[Event] = []
    vm = machine(project, events)
    assert (vm.state(), vm.exists()) == ("absent", False)
    started = vm.start()
    assert (started.created, started.booted, started.accelerator, started.transport) == (
        True,
        True,
        "tcg",
        "vhost-user",
    )
    assert (vm.state(), vm.is_running(), vm.transport_alive(), vm.timeout_factor()) == ("running", True, True, 5)
    assert vm.endpoint() == UnixEndpoint(vm.paths.vsock_socket)
    assert len(vm.key()) == 32
    assert [name for name, status in phases(events) if status == "done"] == ["image", "disk", "seed", "domain"]
    assert {entry.name for entry in vm.paths.state.iterdir()} >= {
        "overlay.qcow2",
        "drive-data.qcow2",
        "key",
        "state.json",
    }
    assert all(entry.stat().st_mode & 0o077 == 0 for entry in vm.paths.state.iterdir() if entry.suffix != ".pub")
    assert image_info(vm.paths.overlay).virtual_size == 64 << 20


def test_a_second_start_changes_nothing(project: Path) -> None:
    machine(project).start()
    events: list[Event] = []
    vm = machine(project, events)
    vm_id, key = vm.vm_id(), vm.key()
    started = vm.start()
    assert (started.created, started.booted, events) == (False, False, [])
    assert (vm.vm_id(), vm.key()) == (vm_id, key)


def test_a_vm_goes_down_and_comes_back_as_it_was(project: Path) -> None:
    vm = machine(project)
    vm.start()
    seeds = list(vm.paths.state.glob("seed-*"))
    assert vm.down() == "stopped"
    assert (vm.state(), vm.down(), vhost_user.find_daemons(vm.paths)) == ("stopped", "not-running", [])
    started = machine(project).start()
    assert (started.created, started.booted) == (False, True)
    assert list(vm.paths.state.glob("seed-*")) == seeds


def cut_power(vm: Machine) -> None:
    domain = domain_of(vm)
    assert domain is not None
    domain.destroy()


def test_a_first_boot_that_loses_power_before_the_agent_answers_begins_anew(project: Path) -> None:
    vm = machine(project)
    vm.start()
    key, disk = vm.key(), vm.paths.overlay.stat().st_ino
    cut_power(vm)
    events: list[Event] = []
    vm = machine(project, events)
    started = vm.start()
    assert (started.created, started.booted) == (False, True)
    assert vm.key() == key
    assert vm.paths.overlay.stat().st_ino != disk
    assert vm.paths.overlay_set_aside.stat().st_ino == disk
    assert image_info(vm.paths.overlay).virtual_size == 64 << 20
    (warning,) = warnings(events)
    assert "first boot was cut off" in warning
    assert str(vm.paths.overlay_set_aside) in warning


def test_a_fresh_disk_that_could_not_be_made_is_made_by_the_next_start(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = machine(project)
    vm.start()
    cut_power(vm)
    base = project / "base.qcow2"
    with monkeypatch.context() as patched:
        # As a kill would, between one disk and the other.
        patched.setattr(vm_files, "create_overlay", lambda *_: base.rename(project / "gone"))
        with pytest.raises(HostError, match="is gone"):
            machine(project).start()
    (project / "gone").rename(base)
    machine(project).start()
    assert image_info(vm.paths.overlay).virtual_size == 64 << 20


def test_the_disk_stays_once_the_agent_has_answered_any_command(project: Path) -> None:
    vm = machine(project)
    vm.start()
    known = KnownVm(vm.identity, lambda _event: None)
    with VmLock(vm.paths.lock).hold(lambda _event: None):
        # Whoever works on the VM is not waited for: the next answer is as good.
        known.note_answer()
        assert not vm.require_state().settled
    known.note_answer()
    assert vm.require_state().settled
    disk = vm.paths.overlay.stat().st_ino
    cut_power(vm)
    vm = machine(project)
    vm.start()
    assert vm.paths.overlay.stat().st_ino == disk


def test_the_disk_stays_where_the_guest_shut_down_in_order(project: Path) -> None:
    vm = machine(project)
    vm.start()
    disk = vm.paths.overlay.stat().st_ino
    assert vm.down() == "stopped"
    vm = machine(project)
    vm.start()
    cut_power(vm)
    machine(project).start()
    assert vm.paths.overlay.stat().st_ino == disk


def test_resources_and_new_drives_apply_at_the_next_start(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.down()
    edit(project, 'disk = "64M"', 'disk = "128M"\ncpus = 3\nmemory_mb = 256')
    edit(project, 'size = "8M"', 'size = "16M"\n[drives.more]\nsize = "4M"')
    vm = machine(project)
    vm.start()
    sizes = [
        image_info(path).virtual_size >> 20
        for path in (vm.paths.overlay, vm.paths.drive("data"), vm.paths.drive("more"))
    ]
    assert sizes == [128, 16, 4]
    domain = domain_of(vm)
    assert domain is not None
    assert (domain.maxVcpus(), domain.maxMemory()) == (3, 256 * 1024)


def shrunk(project: Path) -> Path:
    """A project whose rum.toml wants its disks smaller than they are."""
    edit(project, 'disk = "64M"', 'disk = "32M"')
    edit(project, 'size = "8M"', 'size = "4M"')
    return project


@pytest.mark.parametrize("running", [True, False])
def test_disks_do_not_shrink(project: Path, running: bool) -> None:
    vm = machine(project)
    vm.start()
    if not running:
        vm.down()
    before = vm.paths.state_file.read_bytes()
    events: list[Event] = []
    with pytest.raises(ConfigError) as caught:
        machine(shrunk(project), events).start()
    assert caught.value.problems == (
        'resources.disk = "32 MiB": is smaller than the disk, which has 64 MiB',
        'drives.data.size = "4 MiB": is smaller than the disk, which has 8 MiB',
    )
    assert events == []
    assert vm.state() == ("running" if running else "stopped")
    assert vm.paths.state_file.read_bytes() == before
    assert [image_info(path).virtual_size >> 20 for path in (vm.paths.overlay, vm.paths.drive("data"))] == [64, 8]


def test_what_keeps_a_vm_from_starting_again_is_said_while_it_runs(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.require_startable()
    toml = project / "rum.toml"
    toml.write_text(TOML.replace('"64M"', '"32M"'))
    with pytest.raises(ConfigError, match="disks only grow"):
        machine(project).require_startable()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        toml.write_text(f"{TOML}[[ports]]\nhost = {taken.getsockname()[1]}\nguest = 80\n")
        with pytest.raises(HostError, match="port"):
            machine(project).require_startable()
    toml.write_text(TOML)
    os.utime(project / "base.qcow2", ns=(1, 1))
    with pytest.raises(HostError, match="changed"):
        machine(project).require_startable()
    assert machine(project).is_running()


def test_a_disk_smaller_than_its_image_has_the_image_s_size(project: Path) -> None:
    edit(project, 'disk = "64M"', 'disk = "8M"')
    machine(project).start()
    machine(project).down()
    machine(project).start()
    assert image_info(machine(project).paths.overlay).virtual_size == 16 << 20


def test_a_running_vm_gets_larger_and_new_disks_at_its_next_start(project: Path) -> None:
    edit(project, 'size = "8M"', f'size = "8M"{FILESYSTEM}')
    machine(project).start()
    before = machine(project).drives_script()
    edit(project, 'disk = "64M"', 'disk = "128M"')
    edit(project, 'size = "8M"', 'size = "16M"\n[drives.more]\nsize = "4M"')
    edit(project, 'target = "/data"', 'target = "/data"\n[[fs.ext4]]\ndrive = "more"\ntarget = "/more"')
    events: list[Event] = []
    vm = machine(project, events)
    assert not vm.start().booted
    later = "at the next start (`rum reboot`)"
    assert [event.text for event in events if isinstance(event, Notice)] == [
        f"disk is now 128 MiB, the VM runs with 64 MiB; it takes effect {later}",
        f"drives.data.size is now 16 MiB, the disk has 8 MiB; it grows {later}",
        f"drives.more is new; it is attached {later}",
    ]
    assert before is not None
    assert vm.drives_script() == before
    vm.down()
    vm.start()
    assert "drive data grown to 16 MiB, new drive more" in [e.detail for e in events if isinstance(e, Phase)]
    after = vm.drives_script()
    assert after is not None
    assert "/more" in after.content
    assert f"The drive data has {16 << 20} bytes" in after.content


def test_a_file_system_waits_for_the_rest_of_its_drives(project: Path) -> None:
    edit(project, 'size = "8M"', 'size = "128M"\n[[fs.btrfs]]\ndrive = "data"\ntarget = "/data"')
    machine(project).start()
    edit(project, 'drive = "data"', 'drives = ["data", "more"]')
    edit(project, "[drives.data]", '[drives.more]\nsize = "128M"\n[drives.data]')
    vm = machine(project)
    vm.start()
    script = vm.drives_script()
    assert script is not None
    assert "\"$1\" later '' '' /data /data data\n" in script.content
    vm.down()
    vm.start()
    script = vm.drives_script()
    assert script is not None
    assert "\"$1\" btrfs '' '' /data /data data more\n" in script.content


def test_a_drive_that_leaves_rum_toml_stays_attached_until_the_guest_lets_go(project: Path) -> None:
    vm = machine(project)
    vm.start()
    disk = vm.paths.drive("data")
    identity = disk.stat().st_ino
    assert vm.drives_script() is None
    edit(project, '[drives.data]\nsize = "8M"\n', "")
    for _ in range(2):
        vm = machine(project)
        vm.start()
        assert (vm.leaving_drives(), disks_of(vm)) == (["data"], ["overlay.qcow2", "seed", "drive-data.qcow2"])
        script = vm.drives_script()
        assert script is not None
        assert script == drives_script((), "rum", {})
        vm.down()
    vm.start()
    # The test driver takes no disk out of a running domain.
    assert not vm.detach_drive("data")
    assert (vm.leaving_drives(), vm.drives_script()) == ([], None)
    assert vm.describe_drives() == ["data (8 MiB, detached)"]
    vm.down()
    vm.start()
    assert disks_of(vm) == ["overlay.qcow2", "seed"]
    assert disk.stat().st_ino == identity
    with (project / "rum.toml").open("a") as file:
        file.write('[drives.data]\nsize = "8M"\n')
    vm = machine(project)
    assert not vm.start().booted
    assert disks_of(vm) == ["overlay.qcow2", "seed"]
    vm.down()
    vm.start()
    assert disks_of(vm) == ["overlay.qcow2", "seed", "drive-data.qcow2"]
    assert disk.stat().st_ino == identity
    assert vm.describe_drives() == ["data (8 MiB)"]


def test_a_drive_of_an_older_rum_s_vm_is_let_go_of_in_order(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.down()
    state = json.loads(vm.paths.state_file.read_text())
    del state["detached"]
    vm.paths.state_file.write_text(json.dumps(state))
    edit(project, '[drives.data]\nsize = "8M"\n', "")
    vm = machine(project)
    vm.start()
    assert vm.leaving_drives() == ["data"]


def test_a_drive_without_its_disk_in_the_domain_counts_as_detached(project: Path) -> None:
    edit(project, '[drives.data]\nsize = "8M"\n', "")
    vm = machine(project)
    vm.start()
    vm.paths.drive("left").write_bytes(b"")
    assert vm.leaving_drives() == ["left"]
    assert vm.detach_drive("left")
    assert vm.leaving_drives() == []


def test_a_drive_that_is_no_image_any_more_is_still_named_before_it_is_deleted(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.paths.drive("data").write_bytes(b"")
    vm.paths.drive("old").symlink_to("/nonexistent")
    assert vm.describe_drives() == ["data (0 bytes)", "old"]


def test_a_changed_user_regenerates_the_seed_but_a_script_does_not(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm_id = vm.vm_id()
    seeds = [list(vm.paths.state.glob("seed-*"))]
    for line in ('[provision.system]\nscript = "true"\n', '[user]\nname = "dev"\n'):
        machine(project).down()
        with (project / "rum.toml").open("a") as file:
            file.write(line)
        machine(project).start()
        seeds.append(list(vm.paths.state.glob("seed-*")))
    assert seeds[0] == seeds[1] != seeds[2]
    assert len(seeds[2]) == 1
    assert machine(project).vm_id() == vm_id


def test_another_image_is_ignored_with_a_warning(project: Path) -> None:
    machine(project).start()
    machine(project).down()
    edit(project, "base.qcow2", "other.qcow2")
    events: list[Event] = []
    machine(project, events).start()
    assert warnings(events) == [
        "image.base is now other.qcow2, but the VM keeps its disk of base.qcow2 until 'rum destroy'"
    ]
    assert ("image", "skipped") in phases(events)


def test_a_base_image_that_changed_is_refused(project: Path) -> None:
    machine(project).start()
    machine(project).down()
    os.utime(project / "base.qcow2", (1, 1))
    with pytest.raises(HostError, match="has changed since this VM's disk was made on it"):
        machine(project).start()


def test_a_dead_daemon_of_a_running_vm_restarts_it(project: Path) -> None:
    vm = machine(project)
    vm.start()
    for pid in vhost_user.find_daemons(vm.paths):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert not vm.transport_alive()
    events: list[Event] = []
    started = machine(project, events).start()
    assert (started.created, started.booted) == (False, True)
    assert "has died; the VM is restarted" in warnings(events)[0]
    assert vm.transport_alive()


MOUNT = """
[[mounts]]
source = "."
target = "/srv/src"
"""


def test_a_mount_has_its_daemon_as_long_as_the_vm_runs(project: Path) -> None:
    edit(project, "[advanced]", f"{MOUNT}[advanced]")
    vm = machine(project)
    vm.start()
    started = vm.last_start()
    assert started is not None
    assert [(mount.source, mount.target) for mount in started.mounts] == [(str(project), "/srv/src")]
    assert virtiofsd.dead(vm.paths, 1) == []
    domain = domain_of(vm)
    assert domain is not None
    assert f'<source socket="{vm.paths.mount_socket(0)}"' in domain.XMLDesc().replace("'", '"')
    assert vm.down() == "stopped"
    assert virtiofsd.dead(vm.paths, 1) == [0]
    machine(project).start()
    vm.destroy()
    assert virtiofsd.dead(vm.paths, 1) == [0]


def test_a_dead_virtiofsd_of_a_running_vm_restarts_it(project: Path) -> None:
    edit(project, "[advanced]", f"{MOUNT}[advanced]")
    vm = machine(project)
    vm.start()
    for pid in Daemon("virtiofsd", f"={vm.paths.runtime}/fs").find():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    events: list[Event] = []
    started = machine(project, events).start()
    assert (started.created, started.booted) == (False, True)
    assert warnings(events) == [
        "the virtiofsd of the running VM has died; the VM is restarted, nothing else brings it back"
    ]
    assert virtiofsd.dead(vm.paths, 1) == []
    vm.destroy()


def test_a_missing_virtiofsd_is_said_before_anything_is_made(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virtiofsd, "PLACES", ())
    edit(project, "[advanced]", f"{MOUNT}[advanced]")
    events: list[Event] = []
    vm = machine(project, events)
    with pytest.raises(HostError, match="there is no virtiofsd on this host"):
        vm.start()
    assert (events, vm.paths.state.exists()) == ([], False)


def test_other_resources_are_named_now_or_for_the_next_start(project: Path) -> None:
    machine(project).start()
    edit(project, 'disk = "64M"', 'disk = "64M"\nmemory_mb = 256')
    running: list[Event] = []
    machine(project, running).start()
    assert [text.split(";")[0] for text in warnings(running)] == ["memory is now 256 MiB, the VM runs with 2048 MiB"]
    machine(project).down()
    next_start: list[Event] = []
    machine(project, next_start).start()
    assert "memory: 256 MiB, was 2048 MiB" in [event.text for event in next_start if isinstance(event, Notice)]


def test_a_paused_vm_goes_on(project: Path) -> None:
    vm = machine(project)
    vm.start()
    domain = domain_of(vm)
    assert domain is not None
    domain.suspend()
    assert (vm.state(), vm.is_running()) == ("paused", False)
    assert not vm.start().booted
    assert vm.is_running()


def test_destroy_leaves_only_the_copies_of_the_runs(project: Path) -> None:
    vm = machine(project)
    vm.start()
    (vm.paths.runs / "one").mkdir(parents=True)
    assert vm.destroy()
    assert (vm.state(), domain_of(vm), vhost_user.find_daemons(vm.paths)) == ("absent", None, [])
    assert [entry.name for entry in vm.paths.state.iterdir()] == ["runs"]
    assert not vm.paths.runtime.exists()
    assert not vm.destroy()


def test_destroy_keeps_the_end_of_the_console(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(removal, "KEPT_MAX", 8)
    vm = machine(project)
    vm.start()
    last = vm.last_start()
    assert last
    offset = last.console_offset
    vm.paths.console_log.write_bytes(b"x" * offset + b"the last start")
    assert vm.destroy()
    assert vm.paths.last_console.read_bytes() == b"st start"
    assert vm.paths.last_console.stat().st_mode & 0o777 == 0o600
    shown: list[str] = []
    outcome = console_log(vm, shown.append, follow=True, check=lambda: None)
    assert shown == ["st start"]
    assert "does not exist" in outcome.text
    assert vm.start().created
    shown.clear()
    console_log(vm, shown.append, follow=False, check=lambda: None)
    assert "st start" not in shown


def test_a_destroyed_vm_starts_anew(project: Path) -> None:
    vm = machine(project)
    vm.start()
    before = vm.vm_id()
    vm.destroy()
    assert vm.start().created
    assert vm.vm_id() != before


def test_a_domain_without_its_state_is_removed_too(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.paths.state_file.unlink()
    assert vm.destroy()
    assert domain_of(vm) is None


def test_a_create_that_fails_leaves_nothing(project: Path) -> None:
    (project / "base.qcow2").write_bytes(b"no image")
    events: list[Event] = []
    vm = machine(project, events)
    with pytest.raises(HostError, match="is not a disk image"):
        vm.start()
    assert phases(events) == [("image", "started"), ("image", "failed")]
    assert not vm.exists()
    assert not vm.paths.state.exists()


def test_a_vm_whose_first_start_failed_is_created_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vm = machine(project)
    with monkeypatch.context() as broken:
        broken.setattr("rum.host.vm.domain_start.build_domain_xml", lambda spec: "<domain/>")
        with pytest.raises(HostError):
            vm.start()
    assert vm.last_start() is None
    assert vhost_user.find_daemons(vm.paths) == []
    assert vm.start().created


def test_leftovers_of_a_killed_create_are_in_nobody_s_way(project: Path) -> None:
    vm = machine(project)
    vm.paths.make_dirs()
    for path in (vm.paths.overlay, vm.paths.ssh_key, vm.paths.drive("data"), vm.paths.state / ".key.1.tmp"):
        path.write_bytes(b"half")
    assert vm.start().created
    assert image_info(vm.paths.drive("data")).format == "qcow2"


def test_a_taken_cid_is_answered_with_the_next(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = LibvirtDriver.start
    refused: list[str] = []

    def start_at_the_third(driver: LibvirtDriver, name: str) -> None:
        if len(refused) < 2:
            refused.append(name)
            raise CidInUseError("taken")
        start(driver, name)

    monkeypatch.setattr(LibvirtDriver, "start", start_at_the_third)
    edit(project, "vhost-user", "vhost-vsock")
    monkeypatch.setattr("rum.host.channel.transport.why_not_openable", lambda device: None)
    vm = machine(project)
    vm.start()
    third = list(itertools.islice(cid_candidates(vm.vm_id()), 3))[2]
    assert vm.endpoint() == VsockEndpoint(third)
    assert vm.transport_alive()


def test_a_stranger_s_domain_of_the_same_name_is_never_touched(project: Path) -> None:
    vm = machine(project)
    body = f"<name>{vm.config.domain_name}</name><memory>1024</memory><os><type>hvm</type></os>"
    libvirt.open("test:///default").defineXML(f'<domain type="test">{body}</domain>')
    for action in (vm.start, vm.destroy):
        with pytest.raises(HostError, match="was not made by rum"):
            action()
    assert domain_of(vm) is not None


def test_the_console_of_this_boot_tells_what_is_wrong(project: Path) -> None:
    vm = machine(project)
    vm.start()
    vm.paths.console_log.write_text("old boot\n")
    vm.down()
    vm.start()
    with vm.paths.console_log.open("a") as log:
        log.write("No bootable device.\r\n\x1b[0mend\n")
    assert vm.console_tail(5) == ["No bootable device.", "end"]
    assert vm.console_tail(1) == ["end"]
    assert vm.diagnose_boot() == "the image has no boot loader for this firmware"


def test_a_vm_that_does_not_exist_is_one_sentence(project: Path) -> None:
    vm = machine(project)
    for question in (vm.vm_id, vm.endpoint, vm.transport_alive):
        with pytest.raises(HostError, match="there is no VM project of"):
            question()
    with pytest.raises(HostError, match="the VM's key"):
        vm.key()


def test_a_taken_port_is_found_before_anything_is_made(project: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        edit(project, "[advanced]", f"[[ports]]\nhost = {port}\nguest = 80\n[advanced]")
        events: list[Event] = []
        vm = machine(project, events)
        with pytest.raises(HostError, match=f"port {port} of 127.0.0.1 is taken by "):
            vm.start()
    assert (vm.exists(), vm.paths.state.exists(), domain_of(vm), events) == (False, False, None, [])
