"""The story of a build: packages become a directory tree, the tree a filesystem on a disk, the disk an image."""

import io
import shlex
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.images import archive, cache, disk, guestfiles, host
from e2e.images.bootloader import SECTOR
from e2e.images.errors import ImageError
from e2e.images.recipes import Recipe
from e2e.images.tools import Tools

# What the bytes of an image depend on, beside its recipe and the packages of the day.
_SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("bootloader.py", "build.py", "disk.py", "fat.py", "guestfiles.py")
)

# What is needed to reach /boot/grub; GRUB finds everything else there.
_CORE_MODULES = ("biosdisk", "part_gpt", "ext2")
_GRUB_DIRECTORY = "boot/grub/i386-pc"

# Firmware starts the first one when it knows nothing about the disk; that one starts the second.
_EFI_PROGRAMS = {
    "EFI/BOOT/BOOTX64.EFI": "usr/lib/shim/shimx64.efi.signed",
    "EFI/BOOT/GRUBX64.EFI": "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed",
}

# GRUB 2.06 and the e2fsck of older releases know neither; a newer mke2fs turns them on.
_FILESYSTEM_FEATURES = "^metadata_csum_seed,^orphan_file"

# A third of the files, and of no use to a test.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*/man*")
_KEPT = ("/usr/share/doc/*/copyright",)

# With this the kernel package makes no initramfs. It would, and packages after it another: one at the end is enough.
_BUILD_ENVIRONMENT = {"INITRD": "No"}


def image(recipe: Recipe) -> Path:
    """Path of the recipe's qcow2 image, built first if the cache does not have it.

    UnfitHostError: it cannot be built here. ImageError: building it failed.
    """
    final = cache.directory() / f"{recipe.name}-{cache.key(recipe, _SOURCES, host.ARCHITECTURE)}.qcow2"
    if final.exists():
        return final
    host.check_tools()
    tools = Tools(host.root_prefix(), final.with_suffix(".log"))
    lock = final.with_name(f".{recipe.name}.lock")
    with cache.locked(lock, lambda: _tell(f"Waiting for another build of {recipe.name} to end.")):
        if not final.exists():
            try:
                _build(recipe, tools, final)
            except OSError as error:
                raise ImageError(f"Building {recipe.name} in {final.parent} failed: {error}.") from error
    return final


def _build(recipe: Recipe, tools: Tools, final: Path) -> None:
    tools.log.unlink(missing_ok=True)
    with _workshop(tools, final.with_name(f".{recipe.name}.build")) as work:
        tree, raw, finished = work / "tree", work / "disk.raw", work / "disk.qcow2"
        with _told(f"{recipe.name}: installing {len(recipe.packages)} packages and what they depend on"):
            _install_packages(tools, recipe, tree)
        with _told(f"{recipe.name}: making a disk of it"):
            _make_disk(tools, tree, raw)
            tools.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(finished))
        cache.publish(finished, final)
    tools.log.unlink()


@contextmanager
def _workshop(tools: Tools, work: Path) -> Iterator[Path]:
    """An empty directory that is gone afterwards, and with it what a killed build left there."""
    remove = ("rm", "-rf", "--one-file-system", str(work))
    tools.run_as_root(*remove)
    work.mkdir()
    try:
        yield work
    finally:
        tools.run_as_root(*remove)


@contextmanager
def _told(what: str) -> Iterator[None]:
    _tell(f"{what} ...")
    start = time.monotonic()
    yield
    _tell(f"  {time.monotonic() - start:.0f} s")


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")
    sys.stderr.flush()


def _install_packages(tools: Tools, recipe: Recipe, tree: Path) -> None:
    archived = tree.with_name("additions.tar")
    archived.write_bytes(additions(recipe))
    settings = archive.host_settings()
    tools.run_as_root(
        *("mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", f"--keyring={archive.KEYRING}"),
        f"--include={' '.join(recipe.packages)}",
        # A build that is cut short is thrown away, so nothing has to reach the disk before its end.
        "--dpkgopt=force-unsafe-io",
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        *(f"--dpkgopt=path-include={path}" for path in _KEPT),
        *_index_options(recipe, settings),
        *(f"--customize-hook={command}" for command in _customizations(recipe, archived)),
        *(recipe.suite, str(tree)),
        *archive.source_lines(archive.host_mirror(), recipe.suite, recipe.pockets),
        env=_BUILD_ENVIRONMENT | ({"http_proxy": settings.proxy} if settings.proxy else {}),
    )


def _index_options(recipe: Recipe, settings: archive.AptSettings) -> list[str]:
    if recipe.index_may_be_old or not settings.check_valid_until:
        return ['--aptopt=Acquire::Check-Valid-Until "false"']
    return []


def _customizations(recipe: Recipe, additions: Path) -> Iterable[str]:
    """Shell commands that finish the tree, which is their $1."""
    kernel = "$(dpkg-query --show --showformat='${Package}' 'linux-image-*-cloud-amd64')"
    yield f'env --unset=INITRD chroot "$1" sh -c {shlex.quote(f"dpkg-reconfigure {kernel}")}'
    # What the boot menu names, whatever version it is of.
    yield 'test -e "$1/vmlinuz" && test -e "$1/initrd.img"'
    yield f'mkdir -p "$1/boot/grub" && cp -r "$1/usr/lib/grub/i386-pc" "$1/{_GRUB_DIRECTORY}"'
    # As grub-install does: the partition is named, the disk is the one the firmware has booted from.
    yield (
        "chroot \"$1\" grub-mkimage --format=i386-pc --prefix='(,gpt1)/boot/grub'"
        f" --output=/{_GRUB_DIRECTORY}/core.img {' '.join(_CORE_MODULES)}"
    )
    yield f'chroot "$1" systemctl enable {" ".join(recipe.units)}'
    # What mmdebstrap was told is about this build, not about the guest.
    yield 'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"'
    for path in recipe.absent:
        yield f'test ! -e "$1/{path}"'
    for pattern in recipe.removed:
        yield f'rm -f "$1/"{pattern}'
    yield f'tar -C "$1" -xf {shlex.quote(str(additions))}'


def additions(recipe: Recipe) -> bytes:
    """The recipe's own files as a tar archive; everything in it is root's."""
    archived = io.BytesIO()
    with tarfile.open(fileobj=archived, mode="w") as tar:
        for name, content in recipe.files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content.encode())
            tar.addfile(member, io.BytesIO(content.encode()))
        for name, target in recipe.links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return archived.getvalue()


def _make_disk(tools: Tools, tree: Path, raw: Path) -> None:
    disk.create(raw)
    tools.run("sfdisk", "--quiet", str(raw), stdin=disk.SFDISK_SCRIPT.encode())
    tools.run_as_root(
        *("mke2fs", "-q", "-F", "-t", "ext4", "-L", guestfiles.ROOT_LABEL, "-O", _FILESYSTEM_FEATURES),
        *("-E", f"offset={disk.ROOT_START * SECTOR}", "-d", str(tree), str(raw), f"{disk.ROOT_SIZE * SECTOR // 1024}k"),
    )
    try:
        _install_bootloaders(tree, raw)
    except ValueError as error:
        raise ImageError(f"The GRUB that was installed cannot be used: {error}.") from error


def _install_bootloaders(tree: Path, raw: Path) -> None:
    grub = tree / _GRUB_DIRECTORY
    disk.install_bios_boot(raw, (grub / "boot.img").read_bytes(), (grub / "core.img").read_bytes())
    efi = {name: (tree / path).read_bytes() for name, path in _EFI_PROGRAMS.items()}
    disk.install_efi_boot(raw, {**efi, "EFI/DEBIAN/GRUB.CFG": guestfiles.EFI_GRUB_CFG.encode()})
