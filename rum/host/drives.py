"""The generated `drives` script: formats blank drives and mounts them, in the guest, on the first boot.

Disks are found by their virtio serial and mounted by their file system's UUID, never by /dev/vdX, which another disk
may have next time. Nothing that already carries any signature is ever formatted.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from rum.host.config_model import Filesystem
from rum.protocol import After, ProvisionScript, RunOn

SERIAL_PREFIX = "rum-"
"""In front of a drive's name it is the disk's serial."""

MOUNT_OPTIONS = "defaults,nofail,x-systemd.before=local-fs.target,x-systemd.device-timeout=180s"
"""A missing disk does not stop the boot, which takes `nofail`; but that alone also takes the mount out of the order of
the boot (systemd.mount(5)), and scripts have to find it mounted. udev on a busy emulated CPU needs over 30 s to show a
disk that is there."""


@dataclass(frozen=True)
class GuestFiles:
    """Where the script looks in the guest."""

    dev: str = "/dev"
    sys_block: str = "/sys/block"
    fstab: str = "/etc/fstab"
    systemd: str = "/run/systemd/system"


TEMPLATE = """\
set -eu

dev=@dev@
sys_block=@sys_block@
fstab=@fstab@
newline='
'
entries=

fail() {
    echo "drives: $*" >&2
    exit 1
}

# The disk with the serial rum-NAME; sysfs knows it also where udev has made no link.
find_disk() {
    if [ -e "$dev/disk/by-id/virtio-rum-$1" ]; then
        readlink -f "$dev/disk/by-id/virtio-rum-$1"
        return 0
    fi
    for serial in "$sys_block"/*/serial; do
        if [ -r "$serial" ] && [ "$(cat "$serial")" = "rum-$1" ]; then
            block=${serial%/serial}
            echo "$dev/${block##*/}"
            return 0
        fi
    done
    return 1
}

wait_for_disk() {
    seconds=0
    until find_disk "$1"; do
        [ "$seconds" -lt 10 ] || fail "the disk of [drives.$1] has not appeared within 10 s"
        seconds=$((seconds + 1))
        udevadm settle --timeout=1 2>/dev/null || :
        sleep 1
    done
}

# Usage: prepare DRIVE TARGET FSTAB_FIELD
prepare() {
    disk=$(wait_for_disk "$1")
    found=$(wipefs --noheadings --output TYPE "$disk" | sort -u | tr '\\n' ' ')
    case "$found" in
        '')
            echo "formatting the drive $1 as ext4"
            mkfs.ext4 -q -F "$disk"
            ;;
        'ext4 ') ;;
        *) fail "the drive $1 holds ${found% }, not ext4; it was left as it is" ;;
    esac
    uuid=$(blkid -p -s UUID -o value "$disk") || fail "the file system on the drive $1 has no UUID"
    entries="${entries}UUID=$uuid $3 ext4 @options@ 0 2$newline"
    mkdir -p "$2"
}

write_fstab() {
    [ -e "$fstab" ] || : >"$fstab"
    if [ "$(grep -c '^# rum: begin$' "$fstab")" != "$(grep -c '^# rum: end$' "$fstab")" ]; then
        fail "$fstab has a line '# rum: begin' or '# rum: end' without the other; remove it"
    fi
    {
        awk '/^# rum: begin$/ { ours = 1 } !ours { print } /^# rum: end$/ { ours = 0 }' "$fstab"
        printf '# rum: begin\\n%s# rum: end\\n' "$entries"
    } >"$fstab.rum-new"
    chmod 0644 "$fstab.rum-new"
    sync "$fstab.rum-new"
    mv -f "$fstab.rum-new" "$fstab"
}

# Usage: attach DRIVE TARGET
attach() {
    disk=$(wait_for_disk "$1")
    if mountpoint -q "$2"; then
        source=$(findmnt --noheadings --output SOURCE --mountpoint "$2" | tail -n 1)
        [ "$(readlink -f "$source")" = "$disk" ] || fail "$source is already mounted at $2, where the drive $1 belongs"
    else
        mount "$2"
    fi
    # The disk may have grown since; a file system of full size is left as it is.
    resize2fs "$disk" >/dev/null 2>&1 || fail "the file system on the drive $1 cannot be grown to the drive's size"
}

for tool in wipefs blkid mkfs.ext4 resize2fs; do
    command -v "$tool" >/dev/null || fail "the guest has no $tool; install the packages e2fsprogs and util-linux"
done
@prepare@
write_fstab
if [ -d @systemd@ ]; then
    systemctl daemon-reload
fi
@attach@
"""


def drives_script(filesystems: Sequence[Filesystem]) -> ProvisionScript:
    """The script that sets these file systems up, parents before what is mounted below them."""
    return ProvisionScript(
        name="drives", content=drives_text(filesystems), order=0, run_on=RunOn.SYSTEM, after=After.LOCAL_FS
    )


def drives_text(filesystems: Sequence[Filesystem], files: GuestFiles | None = None) -> str:
    """The script's text: POSIX sh, safe to run again."""
    files = files or GuestFiles()
    prepare = [shlex.join(["prepare", *fs.drives, fs.target, fstab_field(fs.target)]) for fs in filesystems]
    attach = [shlex.join(["attach", *fs.drives, fs.target]) for fs in filesystems]
    text = TEMPLATE.replace("@options@", MOUNT_OPTIONS)
    for name in ("dev", "sys_block", "fstab", "systemd"):
        text = text.replace(f"@{name}@", shlex.quote(getattr(files, name)))
    return text.replace("@prepare@", "\n".join(prepare)).replace("@attach@", "\n".join(attach))


def fstab_field(text: str) -> str:
    """A path as a field of fstab(5): blanks and backslashes as octal escapes, the only ones that systemd undoes."""
    return "".join(f"\\{ord(char):03o}" if char in " \t\n\\" else char for char in text)
