"""The files of a VM on the host: made, and brought up to date before a start."""

from __future__ import annotations

import contextlib
import os
import secrets
import uuid

from rum.cloudinit import SeedSpec, build_iso, build_seed, seed_hash
from rum.host.bundle import build_agent_zipapp
from rum.host.config.model import Config
from rum.host.errors import HostError
from rum.host.events import Emit, Notice
from rum.host.files import disk_errors, write_atomic
from rum.host.guest.settings import seeded_settings
from rum.host.images.resolve import create_overlay, describe_image, require_unchanged, resolve_image
from rum.host.paths import VmPaths
from rum.host.progress import phase
from rum.host.qemu_img import create_qcow2, grow_qcow2, image_info
from rum.host.sizes import show_size
from rum.host.ssh_keys import require_ssh_key
from rum.host.store import VmState, read_key, save_state
from rum.host.vm.architecture import host_architecture
from rum.host.vm.nics import seed_nics
from rum.host.vm.removal import remove_files
from rum.protocol.limits import KEY_SIZE


def create_vm(config: Config, paths: VmPaths, uri: str, emit: Emit) -> VmState:
    """Make a VM's files, its state last. After an error nothing of it is left. Raises HostError."""
    remove_files(paths)
    paths.make_dirs()
    try:
        with disk_errors(f"the VM {config.name}"):
            return _create_vm(config, paths, uri, emit)
    except BaseException:
        remove_files(paths)
        raise


def _create_vm(config: Config, paths: VmPaths, uri: str, emit: Emit) -> VmState:
    with phase(emit, "image") as detail:
        base = resolve_image(config.image, config.path.parent, emit)
        detail.append(describe_image(base))
    with phase(emit, "disk") as detail:
        if config.resources.disk < base.virtual_size:
            emit(Notice(f"the disk has the {show_size(base.virtual_size)} of its image, more than resources.disk"))
        create_overlay(base, paths.overlay, config.resources.disk)
        detail.extend(update_drives(config, paths))
    write_atomic(paths.key, f"{secrets.token_hex(KEY_SIZE)}\n".encode("ascii"))
    vm_id = str(uuid.uuid4())
    with phase(emit, "seed"):
        current_hash = write_seed(config, paths, vm_id)
    settings = seeded_settings(config)
    state = VmState(
        vm_id,
        config.name,
        config.identity.id8,
        str(config.path),
        base,
        current_hash,
        uri,
        settled=False,
        settings=settings,
    )
    save_state(paths.state_file, state)
    return state


def can_be_remade(paths: VmPaths) -> bool:
    """Whether there is a root disk, or was one when remaking it was cut short."""
    return paths.overlay.exists() or paths.overlay_set_aside.exists()


def remake_disk(config: Config, paths: VmPaths, state: VmState, emit: Emit) -> None:
    """Give a VM whose first boot was cut short a root disk as its image has it. Raises HostError.

    cloud-init notes that it has done something before it does it and never syncs, so what it left undone or empty, the
    agent's key perhaps, it would not do again.
    """
    require_unchanged(state.image)
    with disk_errors("a disk"):
        with contextlib.suppress(FileNotFoundError):
            os.replace(paths.overlay, paths.overlay_set_aside)
        create_overlay(state.image, paths.overlay, config.resources.disk)
    text = "the VM's first boot was cut off before its agent answered; it begins anew with a fresh disk"
    emit(Notice(f"{text} (the old one: {paths.overlay_set_aside})", warning=True))


def update_disks(config: Config, paths: VmPaths, state: VmState, emit: Emit) -> None:
    """Bring the disks of a VM that is off up to rum.toml: they grow, and new drives appear. Raises HostError."""
    if not paths.overlay.exists():
        text = f"the VM's disk {paths.overlay} is gone"
        raise HostError(text, hint="restore it, or start over with 'rum destroy' and 'rum up'")
    require_unchanged(state.image)
    with phase(emit, "disk") as detail, disk_errors("a disk"):
        grow_qcow2(paths.overlay, max(config.resources.disk, state.image.virtual_size))
        detail.extend(update_drives(config, paths))


def update_drives(config: Config, paths: VmPaths) -> list[str]:
    """Make the drives that have no file yet, and grow those that rum.toml wants larger; returns what was done."""
    done = []
    for drive in config.drives.values():
        path = paths.drive(drive.name)
        if not path.exists():
            create_qcow2(path, drive.size)
            done.append(f"new drive {drive.name}")
        elif image_info(path).virtual_size < drive.size:
            grow_qcow2(path, drive.size)
            done.append(f"drive {drive.name} grown to {show_size(drive.size)}")
    return done


def update_seed(config: Config, paths: VmPaths, state: VmState, emit: Emit) -> str:
    """Bring the seed up to rum.toml, and return its hash. The instance-id stays. Raises HostError."""
    with phase(emit, "seed"), disk_errors("the seed"):
        return write_seed(config, paths, state.vm_id)


def write_seed(config: Config, paths: VmPaths, vm_id: str) -> str:
    """Write the seed unless it is there already, and return its hash. Raises OSError and HostError."""
    files = build_seed(
        SeedSpec(
            vm_id=vm_id,
            hostname=config.network.hostname,
            user_name=config.user.name,
            groups=config.user.groups,
            authorized_keys=(require_ssh_key(paths, config.domain_name), *config.ssh.authorized_keys),
            agent=build_agent_zipapp(),
            key=read_key(paths),
            autologin=config.advanced.autologin,
            nics=seed_nics(config.network, vm_id),
            serial_device=host_architecture().serial_device,
        )
    )
    current_hash = seed_hash(files)
    if not paths.seed(current_hash).exists():
        write_atomic(paths.seed(current_hash), build_iso(files))
    return current_hash


def remove_old_seeds(paths: VmPaths, current_hash: str) -> None:
    """Remove every seed but the current one; no running VM may have another."""
    for path in paths.state.glob("seed-*.iso"):
        if path != paths.seed(current_hash):
            path.unlink(missing_ok=True)
