# Brings one setting of the guest up to rum.toml: sh -c TEXT rum-settings STEP ARGUMENTS...
# Prints a line for each thing that it has changed; safe to run again. RUM_ROOT is for tests.
set -eu

root=${RUM_ROOT:-}
fstab=$root/etc/fstab
newline='
'

fail() {
    echo "$*" >&2
    exit 1
}

# Usage: replace FILE MODE TEXT; the file is whole or as it was.
replace() {
    if [ -e "$1" ] && [ "$(cat "$1")" = "$3" ]; then
        return 0
    fi
    mkdir -p "${1%/*}"
    if ! printf '%s\n' "$3" >"$1.rum-new.$$"; then
        rm -f "$1.rum-new.$$"
        fail "$1 could not be written"
    fi
    chmod "$2" "$1.rum-new.$$"
    sync "$1.rum-new.$$"
    mv -f "$1.rum-new.$$" "$1"
    sync "${1%/*}"
    if command -v restorecon >/dev/null; then
        restorecon "$1" 2>/dev/null || :
    fi
    echo "changed $1"
}

# Usage: hostname NAME. As cloud-init does: its short form, but for the family of Fedora.
hostname_step() {
    name=${1%%.*}
    if grep -qE '^ID(_LIKE)?=.*(fedora|rhel)' "$root/etc/os-release"; then
        name=$1
    fi
    replace "$root/etc/hostname" 0644 "$name"
    if [ "$(cat "$root/proc/sys/kernel/hostname")" != "$name" ]; then
        printf '%s\n' "$name" >"$root/proc/sys/kernel/hostname"
        echo changed
    fi
    if [ -e "$root/etc/hosts" ]; then
        # Only the line that a distribution keeps for this purpose.
        hosts=$(NAMES="$1 $name" awk '$1 == "127.0.1.1" { $0 = $1 " " ENVIRON["NAMES"] } { print }' "$root/etc/hosts")
        replace "$root/etc/hosts" 0644 "$hosts"
    fi
}

# The account may be cloud-init's to make, and cloud-init may be at it.
wait_for_account() {
    id "$1" >/dev/null 2>&1 || timeout 120 cloud-init status --wait >/dev/null 2>&1 || :
    id "$1" >/dev/null 2>&1 || fail "the guest has no account $1"
}

in_group() {
    id -nG "$1" | tr ' ' '\n' | grep -qxF -e "$2"
}

# Usage: join USER GROUP
join_step() {
    wait_for_account "$1"
    getent group "$2" >/dev/null || groupadd "$2"
    if ! in_group "$1" "$2"; then
        usermod -a -G "$2" "$1"
        sync
        echo changed
    fi
}

# Usage: leave USER GROUP
leave_step() {
    wait_for_account "$1"
    if in_group "$1" "$2"; then
        gpasswd -d "$1" "$2" >/dev/null
        sync
        echo changed
    fi
}

# Usage: keys WANTED NO_LONGER_WANTED, one key a line. Run as the account: root would follow its symbolic links.
keys_step() {
    umask 077
    file=$HOME/.ssh/authorized_keys
    mkdir -p "$HOME/.ssh"
    [ -e "$file" ] || : >"$file"
    keys=$(WANTED=$1 UNWANTED=$2 awk '
        function blob(line, fields, count, i) {
            if (line ~ /^[ \t]*#/) return ""
            count = split(line, fields, /[ \t]+/)
            for (i = 1; i <= count; i++) if (fields[i] ~ /^AAAA/) return fields[i]
            return ""
        }
        BEGIN {
            count = split(ENVIRON["UNWANTED"], lines, "\n")
            for (i = 1; i <= count; i++) unwanted[blob(lines[i])]
            count = split(ENVIRON["WANTED"], lines, "\n")
            for (i = 1; i <= count; i++) delete unwanted[blob(lines[i])]
            delete unwanted[""]
        }
        blob($0) in unwanted { next }
        { print; seen[blob($0)] }
        END { for (i = 1; i <= count; i++) if (lines[i] != "" && !(blob(lines[i]) in seen)) print lines[i] }
    ' "$file")
    replace "$file" 0600 "$keys"
}

# Usage: autologin FILE TEXT, where no text is off.
autologin_step() {
    if [ -n "$2" ]; then
        changed=$(replace "$root$1" 0644 "$2")
    elif [ -e "$root$1" ]; then
        rm -f "$root$1"
        changed=changed
    else
        changed=
    fi
    if [ -n "$changed" ]; then
        systemctl daemon-reload
        unit=${1%.d/*}
        systemctl try-restart --no-block "${unit##*/}"
        echo changed
    fi
}

# Usage: fstab LINES, the whole of rum's mounts.
fstab_step() {
    [ -e "$fstab" ] || : >"$fstab"
    if [ "$(grep -c '^# rum mounts: begin$' "$fstab")" != "$(grep -c '^# rum mounts: end$' "$fstab")" ]; then
        fail "/etc/fstab has a line '# rum mounts: begin' or '# rum mounts: end' without the other; remove it"
    fi
    entries=$(awk '/^# rum mounts: begin$/ { ours = 1 } !ours { print } /^# rum mounts: end$/ { ours = 0 }' "$fstab")
    if [ -n "$1" ]; then
        entries="$entries$newline# rum mounts: begin$newline$1$newline# rum mounts: end"
    fi
    changed=$(replace "$fstab" 0644 "$entries")
    if [ -n "$changed" ]; then
        systemctl daemon-reload
        echo changed
    fi
}


# Usage: mounted PATH COLUMN, of what was mounted there last.
mounted() {
    findmnt --noheadings --output "$2" --mountpoint "$1" | tail -n 1
}

# cloud-init makes the account at about the same time, and useradd fills a home directory only if it makes it.
wait_for_home() {
    seconds=0
    until home=$(home_of "$1") && [ -d "$home" ]; do
        [ "$seconds" -lt 120 ] || fail "the guest has no account $1 with a home directory"
        seconds=$((seconds + 1))
        sleep 1
    done
}

home_of() {
    getent passwd "$1" | cut -d : -f 6
}

# Usage: make_target TARGET USER; what is missing below the account's home is the account's, any other root's.
make_target() {
    [ ! -d "$1" ] || return 0
    case $1 in
        "$root/home/$2"/*) wait_for_home "$2" ;;
        *) home=$(home_of "$2") ;;
    esac
    make_directory "$1" "$2"
}

# Usage: make_directory PATH USER
make_directory() {
    [ ! -d "$1" ] || return 0
    make_directory "$(dirname "$1")" "$2"
    mkdir "$1"
    case $1 in
        "${home:-/nonexistent}"/*) chown "$2:" "$1" ;;
    esac
}

# Usage: mount TAG TARGET ro|rw USER [PARENT]. Its line in fstab is there.
mount_step() {
    if [ $# = 5 ] && ! mountpoint -q "$5"; then
        # The drive below it is not set up yet; its script mounts this, too.
        return 0
    fi
    if mountpoint -q "$2"; then
        source=$(mounted "$2" FSTYPE):$(mounted "$2" SOURCE)
        [ "$source" = "virtiofs:$1" ] || fail "something else is mounted there, $source"
        case $(mounted "$2" OPTIONS) in
            "$3" | "$3",*) ;;
            *)
                mount -o "remount,$3" "$2"
                echo changed
                ;;
        esac
        return 0
    fi
    make_target "$2" "$4"
    grep -qw virtiofs /proc/filesystems || modprobe -q virtiofs || :
    grep -qw virtiofs /proc/filesystems || fail "the guest's kernel $(uname -r) has no virtiofs; take another image"
    mount "$2"
    echo changed
}

# Usage: unmount TARGET
unmount_step() {
    if mountpoint -q "$1" && [ "$(mounted "$1" FSTYPE)" = virtiofs ]; then
        umount "$1"
        echo changed
    fi
}

step=$1
shift
"${step}_step" "$@"
