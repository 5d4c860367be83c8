# The programs of the drives script: those that the guest lacks come from its package manager, once there is a network.
# A file system whose programs are there needs neither.

seconds_now() {
    date +%s
}

tools_of() {
    case "$1" in
        ext4) echo mkfs.ext4 resize2fs ;;
        xfs) echo mkfs.xfs xfs_growfs ;;
        btrfs) echo mkfs.btrfs btrfs ;;
        vfat) echo mkfs.vfat ;;
        zfs) echo zpool zfs ;;
    esac
}

# Usage: package_of MANAGER TOOL
package_of() {
    case "$1:$2" in
        *:mkfs.ext4 | *:resize2fs) echo e2fsprogs ;;
        apk:xfs_growfs) echo xfsprogs-extra ;;
        *:mkfs.xfs | *:xfs_growfs) echo xfsprogs ;;
        zypper:mkfs.btrfs | zypper:btrfs) echo btrfsprogs ;;
        *:mkfs.btrfs | *:btrfs) echo btrfs-progs ;;
        *:mkfs.vfat) echo dosfstools ;;
        apt-get:zpool | apt-get:zfs) echo zfsutils-linux ;;
        pacman:zpool | pacman:zfs) echo zfs-utils ;;
        *:zpool | *:zfs) echo zfs ;;
        *) echo util-linux ;;
    esac
}

# What the kernel's zfs module comes from where it is not part of the kernel's own package.
zfs_module_packages() {
    case "$1" in
        apt-get) echo "zfs-dkms linux-headers-$(uname -r)" ;;
        pacman) echo zfs-dkms ;;
        apk) uname -r | sed 's/.*-/zfs-/' ;;
        *) echo zfs ;;
    esac
}

find_manager() {
    for candidate in apt-get dnf zypper pacman apk; do
        if command -v "$candidate" >/dev/null; then
            echo "$candidate"
            return 0
        fi
    done
    return 1
}

refresh_index() {
    case "$manager" in
        # Without the error mode an index that could not be fetched is a warning. Descriptions are half of the download.
        apt-get)
            apt-get -q -o DPkg::Lock::Timeout=60 -o APT::Update::Error-Mode=any -o Acquire::Languages=none \
                -o APT::Get::List-Cleanup=false update
            ;;
        dnf) dnf -q makecache ;;
        zypper) zypper --non-interactive --quiet refresh ;;
        pacman) pacman -Sy --noconfirm ;;
        apk) apk update ;;
    esac
}

install_packages() {
    case "$manager" in
        apt-get) apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" ;;
        dnf) dnf -q -y install "$@" ;;
        zypper) zypper --non-interactive --quiet install --no-recommends "$@" ;;
        pacman) pacman -S --noconfirm --needed "$@" ;;
        apk) apk add "$@" ;;
    esac
}

has_network() {
    udevadm settle --timeout=10 2>/dev/null || :
    for interface in "$sys_net"/*; do
        [ "${interface##*/}" = lo ] || [ ! -e "$interface/address" ] || return 0
    done
    return 1
}

# Waits for the network by asking for what it is needed for, which also waits for whoever else uses the index.
wait_for_index() {
    end=$(($(seconds_now) + install_timeout))
    until output=$(refresh_index 2>&1 >/dev/null); do
        [ "$(seconds_now)" -lt "$end" ] ||
            fail "$1: $manager could not refresh its index within $install_timeout s: $(last_line "$output")"
        echo "waiting for the network, to install $2: $(last_line "$output")"
        sleep 5
    done
}

# Usage: install COMPLAINT PACKAGE...
install() {
    complaint=$1
    shift
    has_network || fail "$complaint (package $*), and no network to install it from; add it to the image"
    echo "$complaint; $manager installs $*"
    wait_for_index "$complaint" "$*"
    install_packages "$@" || fail "$complaint: $manager could not install $*"
}

# Usage: require TOOL...
require() {
    missing=
    for tool in "$@"; do
        command -v "$tool" >/dev/null || missing="$missing $tool"
    done
    [ -n "$missing" ] || return 0
    manager=$(find_manager) ||
        fail "the guest has no$missing, and none of apt-get, dnf, zypper, pacman, apk to install it with"
    packages=$(for tool in $missing; do package_of "$manager" "$tool"; done | sort -u)
    # shellcheck disable=SC2086 # One word is one package.
    install "the guest has no$missing" $packages
    for tool in $missing; do
        command -v "$tool" >/dev/null || fail "the guest has no $tool, although $manager has installed it"
    done
}

require_zfs_module() {
    if [ -e "$sys_module/zfs" ] || modprobe zfs 2>/dev/null; then
        return 0
    fi
    manager=$(find_manager) || fail "the guest's kernel has no module zfs, and no package manager to install it with"
    # shellcheck disable=SC2046 # One word is one package.
    install "the guest's kernel has no module zfs" $(zfs_module_packages "$manager")
    modprobe zfs || fail "the guest's kernel $(uname -r) cannot load the module zfs"
}

# Usage: require_module KIND
require_module() {
    [ "$1" != zfs ] || require_zfs_module
}
