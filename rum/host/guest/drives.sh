# The drives script: formats blank drives, mounts them, grows them, and unmounts what rum.toml does not name any more.
# rum.host.guest.drives puts the guest's paths and each_filesystem in front of it. POSIX sh, safe to run again at any point.

newline='
'
entries=

fail() {
    echo "drives: $*" >&2
    exit 1
}

# The last line of what a program has complained about.
last_line() {
    printf '%s\n' "${1:-no reason was given}" | tail -n 1
}

# Usage: plural NOUN NAME...
plural() {
    noun=$1
    shift
    if [ $# = 1 ]; then echo "the $noun $1"; else echo "the ${noun}s $*"; fi
}

# --- disks ----------------------------------------------------------------------------------------------------------

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

# The types of all signatures on a disk, nothing for a blank one. What cannot be read is not blank.
signatures() {
    types=$(wipefs --noheadings --output TYPE "$1") || fail "$1 cannot be read"
    printf '%s' "$types" | sort -u | tr -s ' \n' ' ' | sed 's/^ //; s/ $//'
}

# Usage: look_at KIND DRIVE...   sets `held` to "blank", "made" or "mixed"; fails where anything else is on a drive
look_at() {
    wanted=$1
    shift
    held=
    for drive in "$@"; do
        disk=$(wait_for_disk "$drive")
        found=$(signatures "$disk")
        case "$wanted:$found" in
            *:) now=blank ;;
            "$wanted:$wanted" | 'zfs:zfs_member' | 'zfs:PMBR gpt' | 'zfs:PMBR gpt zfs_member') now=made ;;
            *) fail "the drive $drive holds $found, not $wanted; it was left as it is" ;;
        esac
        [ -z "$held" ] || [ "$held" = "$now" ] || now=mixed
        held=$now
    done
}

disks_of() {
    for drive in "$@"; do
        find_disk "$drive"
    done
}

# --- the account that new file systems belong to ----------------------------------------------------------------------

# cloud-init makes the account in the very first seconds in which this script may run, too.
wait_for_account() {
    seconds=0
    until uid=$(id -u "$owner" 2>/dev/null); do
        [ "$seconds" -gt 0 ] || echo "waiting for the account $owner"
        [ "$seconds" -lt 180 ] ||
            fail "the account $owner, to which new file systems belong, has not appeared within 180 s"
        seconds=$((seconds + 1))
        sleep 1
    done
    gid=$(id -g "$owner")
    home=$(getent passwd "$owner" | cut -d : -f 6)
}

# useradd fills a home directory only if it makes it.
wait_for_home() {
    seconds=0
    until [ -d "$home" ] || [ "$seconds" -ge 60 ]; do
        seconds=$((seconds + 1))
        sleep 1
    done
}

# A directory that is missing below the account's home is the account's, any other root's.
make_directory() {
    [ ! -d "$1" ] || return 0
    make_directory "$(dirname "$1")"
    mkdir "$1"
    case "$1" in
        "$home"/*) chown "$uid:$gid" "$1" ;;
    esac
}

make_target() {
    [ ! -d "$1" ] || return 0
    wait_for_account
    case "$1" in
        "$home"/*) wait_for_home ;;
    esac
    make_directory "$1"
}

# --- formatting -------------------------------------------------------------------------------------------------------

# Two notes outlive a power cut: .formatting, while what is on the drives is no file system yet, and .new, until the top
# directory has its owner. They name the kind and the drives, and lie on the root disk.
note() {
    mkdir -p "$notes"
    printf '%s\n' "$2" >"$notes/$1"
    sync
}

has_note() {
    [ -e "$notes/$1" ] && [ "$(cat "$notes/$1")" = "$2" ]
}

# What cannot be mounted, or has no files, is what an interrupted mkfs has left; anything else is somebody's.
holds_files() {
    if findmnt --source "$1" >/dev/null 2>&1; then
        return 0
    fi
    mkdir -p "$notes/look"
    mount -o ro "$1" "$notes/look" 2>/dev/null || return 1
    files=$(find "$notes/look" -mindepth 1 -maxdepth 1 ! -name lost+found)
    umount "$notes/look"
    [ -n "$files" ]
}

# Usage: was_interrupted KIND POOL DRIVE...
was_interrupted() {
    kind=$1 pool=$2
    shift 2
    has_note "$1.formatting" "$kind $*" || return 1
    if [ "$kind" = zfs ]; then
        if find_pool "$pool"; then return 1; else return 0; fi
    fi
    for disk in $(disks_of "$@"); do
        ! holds_files "$disk" || return 1
    done
}

# Usage: make_filesystem KIND MODE POOL TARGET DISK...
make_filesystem() {
    kind=$1 mode=$2 pool=$3 target=$4
    shift 4
    case "$kind" in
        ext4) mkfs.ext4 -q -F "$@" ;;
        xfs) mkfs.xfs -q "$@" ;;
        btrfs)
            # Metadata of one copy only would be lost with any of the drives.
            case "$mode" in
                '') mkfs.btrfs -q "$@" ;;
                raid1 | raid10) mkfs.btrfs -q -d "$mode" -m "$mode" "$@" ;;
                *) mkfs.btrfs -q -d "$mode" "$@" ;;
            esac
            ;;
        vfat)
            # Else some versions write a partition table into the same sector.
            case "$(mkfs.vfat --help 2>&1)" in
                *--mbr*) mkfs.vfat -I --mbr=n "$@" >/dev/null ;;
                *) mkfs.vfat -I "$@" >/dev/null ;;
            esac
            ;;
        zfs)
            # shellcheck disable=SC2086 # No mode is no word.
            zpool create -f -o ashift=12 -o autoexpand=on -m "$target" "$pool" $mode "$@"
            ;;
    esac
}

# Usage: format KIND MODE POOL TARGET DRIVE...
format() {
    kind=$1 mode=$2 pool=$3 target=$4
    shift 4
    note "$1.new" "$kind $*"
    note "$1.formatting" "$kind $*"
    echo "formatting $(plural drive "$@") as $kind${mode:+, $mode}"
    first=$1
    for drive in "$@"; do
        disk=$(find_disk "$drive")
        wipefs -q -a "$disk"
        set -- "$@" "$disk"
        shift
    done
    make_filesystem "$kind" "$mode" "$pool" "$target" "$@"
    sync
    rm -f "$notes/$first.formatting"
    sync
}

# --- file systems -----------------------------------------------------------------------------------------------------

# Usage: prepare KIND MODE POOL TARGET FSTAB_FIELD DRIVE...
prepare() {
    kind=$1 mode=$2 pool=$3 target=$4 field=$5
    shift 5
    if [ "$kind" = later ]; then
        keep_entry "$field"
        return 0
    fi
    look_at "$kind" "$@"
    if [ "$held" != blank ] && was_interrupted "$kind" "$pool" "$@"; then
        echo "$(plural drive "$@") had not been formatted to the end, which is done again"
        held=blank
    fi
    case "$held" in
        blank) format "$kind" "$mode" "$pool" "$target" "$@" ;;
        mixed)
            fail "of the drives $*, some are blank and some hold $kind, which rum does not join; they were left as they are"
            ;;
    esac
    if [ "$kind" = zfs ]; then
        import_pool "$pool" "$target" "$@"
        entries="$entries#zfs:$pool $field zfs$newline"
        return 0
    fi
    disk=$(find_disk "$1")
    uuid=$(blkid -p -s UUID -o value "$disk") || fail "the file system on the drive $1 has no UUID"
    entries="${entries}UUID=$uuid $field $kind $(fstab_options "$kind")$newline"
}

# Options, dump and the order of fsck, which journalling in xfs and btrfs replaces.
fstab_options() {
    case "$1" in
        vfat)
            wait_for_account >&2
            echo "$options,uid=$uid,gid=$gid,umask=022,utf8 0 2"
            ;;
        ext4) echo "$options 0 2" ;;
        *) echo "$options 0 0" ;;
    esac
}

find_pool() {
    zpool list -H -o name "$1" >/dev/null 2>&1 || zpool import -d "$dev" "$1"
}

# Usage: import_pool POOL TARGET DRIVE...
import_pool() {
    pool=$1 target=$2
    shift 2
    find_pool "$pool" || fail "there is no pool $pool on $(plural drive "$@"); what is there was left as it is"
    members=$(zpool status -L -P "$pool")
    for drive in "$@"; do
        disk=$(find_disk "$drive")
        case "$members" in
            *"$disk"[!a-z]*) ;;
            *) fail "the drive $drive is not in the pool $pool; it was left as it is" ;;
        esac
    done
    [ "$(zfs get -H -o value mountpoint "$pool")" = "$target" ] || zfs set "mountpoint=$target" "$pool"
}

# Usage: attach KIND MODE POOL TARGET FSTAB_FIELD DRIVE...
attach() {
    kind=$1 pool=$3 target=$4
    shift 5
    if [ "$kind" = later ]; then
        return 0
    fi
    if mountpoint -q "$target"; then
        check_mounted "$kind" "$pool" "$target" "$@"
    elif [ "$kind" = zfs ]; then
        zfs mount "$pool"
    else
        [ "$kind" != btrfs ] || btrfs device scan >/dev/null 2>&1 || :
        # Not before what is above it is mounted, and its old place is left: both would hide it.
        make_target "$target"
        mount "$target"
    fi
    rm -f "$notes/$1.formatting"
    grow "$kind" "$pool" "$target" "$@"
    if has_note "$1.new" "$kind $*"; then
        give_to_owner "$kind" "$target"
        rm -f "$notes/$1.new"
    fi
}

# Usage: check_mounted KIND POOL TARGET DRIVE...
check_mounted() {
    kind=$1 pool=$2 target=$3
    shift 3
    source=$(findmnt --noheadings --nofsroot --output SOURCE --mountpoint "$target" | tail -n 1)
    [ "$kind:$source" != "zfs:$pool" ] || return 0
    for disk in $(disks_of "$@"); do
        [ "$(readlink -f "$source")" != "$disk" ] || return 0
    done
    fail "$source is already mounted at $target, where $(plural drive "$@") should be"
}

give_to_owner() {
    # vfat has no owners, its mount options have.
    [ "$1" != vfat ] || return 0
    wait_for_account
    chown "$uid:$gid" "$2"
}

# The disk may have grown since; a file system of full size is left as it is.
# Usage: grow KIND POOL TARGET DRIVE...
grow() {
    kind=$1 pool=$2 target=$3
    shift 3
    cannot="the file system on $(plural drive "$@") cannot be grown"
    output=
    for disk in $(disks_of "$@"); do
        case "$kind" in
            ext4) output=$(resize2fs "$disk" 2>&1 >/dev/null) ;;
            xfs) output=$(xfs_growfs "$target" 2>&1 >/dev/null) ;;
            btrfs) grow_btrfs "$target" "$disk" ;;
            zfs) output=$(zpool online -e "$pool" "$disk" 2>&1 >/dev/null) ;;
            vfat) tell_if_smaller "$target" "$disk" ;;
        esac || fail "$cannot to the full size: $(last_line "$output")"
    done
}

# Usage: grow_btrfs TARGET DISK   each device of a btrfs has its own size, which Linux sets to no less than 256 MiB
grow_btrfs() {
    disk_mib=$(($(blockdev --getsize64 "$2") >> 20))
    set -- "$1" "$2" "$(btrfs filesystem show --raw "$1" | awk -v disk="$2" '$1 == "devid" && $NF == disk { print $2, $4 }')"
    number=${3% *} held_mib=$((${3#* } >> 20))
    if [ "$held_mib" -ge "$disk_mib" ]; then
        return 0
    fi
    if [ "$disk_mib" -lt 256 ]; then
        echo "the btrfs at $1 stays at $held_mib of $disk_mib MiB of $2: Linux grows none to less than 256 MiB"
        return 0
    fi
    output=$(btrfs filesystem resize "$number:max" "$1" 2>&1 >/dev/null)
}

tell_if_smaller() {
    disk_mib=$(($(blockdev --getsize64 "$2") >> 20))
    held_mib=$(($(df -P -k "$1" | awk 'END { print $2 }') >> 10))
    # Its own tables take less than a tenth.
    [ "$((held_mib * 10))" -ge "$((disk_mib * 9))" ] ||
        echo "the vfat at $1 stays at $held_mib of $disk_mib MiB: no tool grows one that is in use"
}

# --- fstab ------------------------------------------------------------------------------------------------------------

# rum's own lines, the last one first: what is mounted inside another one is unmounted before it.
own_lines() {
    [ ! -e "$fstab" ] || awk '
        /^# rum: begin$/ { ours = 1; next }
        /^# rum: end$/ { ours = 0 }
        ours { lines[++count] = $0 }
        END { while (count) print lines[count--] }' "$fstab"
}

keep_entry() {
    # Not by -v, which reads the octal escapes.
    line=$(own_lines | FIELD=$1 awk '$2 == ENVIRON["FIELD"]')
    entries="$entries${line:+$line$newline}"
}

# A field of fstab as the path that it stands for.
path_of() {
    # shellcheck disable=SC2059 # The escapes are those of printf.
    printf "$(printf %s "$1" | sed 's/%/%%/g')"
}

# Usage: leave SOURCE TARGET
leave() {
    case "$1" in
        '#zfs:'*) ! zpool list -H -o name "${1#?zfs:}" >/dev/null 2>&1 || zpool export "${1#?zfs:}" ;;
        *) ! mountpoint -q "$2" || umount "$2" ;;
    esac
}

# Unmounts what rum.toml does not name any more, or names elsewhere; sets `busy` to what is in use.
leave_old_targets() {
    busy=
    while read -r source field _; do
        case "$source" in
            '') continue ;;
            # A pool has been told of its new mount point.
            '#zfs:'*) kept="$source " ;;
            *) kept="$source $field " ;;
        esac
        case "$newline$entries" in
            *"$newline$kept"*) continue ;;
        esac
        target=$(path_of "$field")
        leave "$source" "$target" || busy="$busy $target"
    done <<END
$(own_lines)
END
}

write_fstab() {
    {
        [ ! -e "$fstab" ] || awk '/^# rum: begin$/ { ours = 1 } !ours { print } /^# rum: end$/ { ours = 0 }' "$fstab"
        [ -z "$entries" ] || printf '# rum: begin\n%s# rum: end\n' "$entries"
    } >"$fstab.rum-new"
    chmod 0644 "$fstab.rum-new"
    sync "$fstab.rum-new"
    mv -f "$fstab.rum-new" "$fstab"
    sync
}

require_whole_fstab() {
    [ -e "$fstab" ] || return 0
    if [ "$(grep -c '^# rum: begin$' "$fstab")" != "$(grep -c '^# rum: end$' "$fstab")" ]; then
        fail "$fstab has a line '# rum: begin' or '# rum: end' without the other; remove it"
    fi
}

require_whole_fstab
# shellcheck disable=SC2046 # One word is one program.
require wipefs blkid findmnt mountpoint $(each_filesystem tools_of)
each_filesystem require_module
each_filesystem prepare
leave_old_targets
write_fstab
if [ -d "$systemd" ]; then
    systemctl daemon-reload
fi
each_filesystem attach
[ -z "$busy" ] || fail "still in use, so not unmounted before the next restart:$busy"
