"""What to do about what a host lacks: the one place, so that an error of `rum up` and `rum doctor` say the same.

Package names are the distributions' own; a family is what os-release(5) has in ID or ID_LIKE.
"""

from __future__ import annotations

import grp
import os
import platform
import pwd
import re
import shlex
import shutil
from pathlib import Path

from rum.host.errors import HostError

INSTALL = {
    "debian": "apt-get install",
    "fedora": "dnf install",
    "suse": "zypper install",
    "arch": "pacman -S",
    "alpine": "apk add",
}
"""How each family installs a package."""

FAMILIES = {
    "ubuntu": "debian",
    "rhel": "fedora",
    "centos": "fedora",
    "opensuse": "suse",
    "opensuse-leap": "suse",
    "opensuse-tumbleweed": "suse",
    "sles": "suse",
}
"""IDs that mean a family of another name."""

QEMU = {
    "x86_64": ("qemu-system-x86", "qemu-kvm", "qemu-x86", "qemu-system-x86", "qemu-system-x86_64"),
    "aarch64": ("qemu-system-arm", "qemu-kvm", "qemu-arm", "qemu-system-aarch64", "qemu-system-aarch64"),
}
EFI = {
    "x86_64": ("ovmf", "edk2-ovmf", "qemu-ovmf-x86_64", "edk2-ovmf", "ovmf"),
    "aarch64": ("qemu-efi-aarch64", "edk2-aarch64", "qemu-uefi-aarch64", "edk2-aarch64", "aavmf"),
}
PACKAGES = {
    "libvirt": (
        "libvirt-daemon libvirt-daemon-driver-qemu",
        "libvirt-daemon-kvm",
        "libvirt-daemon-qemu",
        "libvirt",
        "libvirt-daemon libvirt-qemu",
    ),
    "libvirt-system": (
        "libvirt-daemon-system",
        "libvirt-daemon-kvm libvirt-daemon-config-network",
        "libvirt-daemon-qemu libvirt-daemon-config-network",
        "libvirt dnsmasq",
        "libvirt-daemon libvirt-qemu dnsmasq",
    ),
    "libvirt-headers": (
        "gcc python3-dev pkg-config libvirt-dev",
        "gcc python3-devel pkgconf-pkg-config libvirt-devel",
        "gcc python3-devel pkgconf-pkg-config libvirt-devel",
        "gcc pkgconf libvirt",
        "gcc musl-dev python3-dev pkgconf libvirt-dev",
    ),
    "qemu-img": ("qemu-utils", "qemu-img", "qemu-img", "qemu-img", "qemu-img"),
    "ssh": ("openssh-client", "openssh-clients", "openssh-clients", "openssh", "openssh"),
    "unshare": ("util-linux", "util-linux", "util-linux", "util-linux", "util-linux"),
    "virtiofsd": ("virtiofsd", "virtiofsd", "virtiofsd", "virtiofsd", "virtiofsd"),
}
"""By what is needed: the packages of the families, in the order of INSTALL."""

NAMES = {
    "qemu": "QEMU",
    "efi": "EFI firmware for QEMU",
    "libvirt-system": "libvirt",
    "libvirt-headers": "a C compiler, Python's and libvirt's headers",
    "ssh": "OpenSSH's client",
    "unshare": "util-linux",
}
"""What is needed, in words, where they are others."""

VIRTIOFSD_IN_QEMU = {("debian", "11"), ("debian", "12"), ("ubuntu", "22.04")}
"""Releases where virtiofsd is still a part of QEMU's package."""

SYSTEMD = Path("/run/systemd/system")
"""There while systemd is what runs the services (sd_booted(3))."""

DAEMON_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin"

DAEMON_PAGE = "https://packages.debian.org/sid/vhost-device-vsock"


def family() -> str | None:
    """This distribution's family, a key of INSTALL; None for one that rum does not know."""
    release = os_release()
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((found for name in names if (found := FAMILIES.get(name, name)) in INSTALL), None)


def os_release() -> dict[str, str]:
    """os-release(5) of this host, empty where there is none."""
    try:
        return platform.freedesktop_os_release()
    except OSError:
        return {}


def packages(*needs: str) -> str | None:
    """The packages, in one line, that bring all of these; None on an unknown distribution."""
    here = family()
    if here is None:
        return None
    release = os_release()
    machine = platform.machine()
    known: dict[str, tuple[str, ...]] = {
        **PACKAGES,
        "qemu": QEMU.get(machine, QEMU["x86_64"]),
        "efi": EFI.get(machine, EFI["x86_64"]),
    }
    if (release.get("ID"), release.get("VERSION_ID")) in VIRTIOFSD_IN_QEMU:
        known["virtiofsd"] = ("qemu-system-common",)
    names = " ".join(known[need][list(INSTALL).index(here)] for need in needs).split()
    return " ".join(dict.fromkeys(names))


def install(*needs: str) -> str:
    """What to do so that all of these are installed, as a sentence that ends in the command for this distribution."""
    wanted, here = packages(*needs), family()
    if wanted is None or here is None:
        names = " and ".join(NAMES.get(need, need) for need in needs)
        return f"install {names} with the package manager of this distribution"
    return f"install it: {as_root(f'{INSTALL[here]} {wanted}')}"


def as_root(command: str) -> str:
    """The command as this user has to type it."""
    if os.geteuid() == 0:
        return command
    return f"{'doas' if shutil.which('doas') and not shutil.which('sudo') else 'sudo'} {command}"


def user_name() -> str:
    """This user's name, or number where it has none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def open_device(device: Path) -> str:
    """How this user may open a device that is there."""
    name = shlex.quote(user_name())
    try:
        group = grp.getgrgid(device.stat().st_gid)
    except (OSError, KeyError):
        return f"give this user access to it: {as_root(f'setfacl -m u:{name}:rw {device}')}"
    if user_name() in group.gr_mem and group.gr_gid not in os.getgroups():
        return f"log in again: you are in the group {group.gr_name}, but not yet in this session"
    if group.gr_gid == 0:
        return f"give this user access to it: {as_root(f'setfacl -m u:{name}:rw {device}')}"
    return f"join its group, then log in again: {as_root(f'usermod -a -G {group.gr_name} {name}')}"


def use_kvm(device: Path, cpuinfo: Path) -> str:
    """How KVM becomes usable here."""
    flags = cpu_flags(cpuinfo)
    if flags and not flags & {"vmx", "svm"}:
        if "hypervisor" in flags:
            return "this host is a virtual machine itself: switch on nested virtualization where it runs"
        return "switch on virtualization (VT-x, AMD-V or SVM) in the set-up of this machine's firmware"
    if not device.exists():
        module = next((f"kvm_{maker}" for flag, maker in (("vmx", "intel"), ("svm", "amd")) if flag in flags), "kvm")
        return f"load its kernel module: {as_root(f'modprobe {module}')}"
    return open_device(device)


def cpu_flags(cpuinfo: Path) -> set[str]:
    """The features of the first CPU in /proc/cpuinfo; empty where it lists none under that name, as on Arm."""
    try:
        found = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(encoding="utf-8", errors="replace"), re.MULTILINE)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def use_vhost_vsock(device: Path) -> str:
    """How the kernel's vhost-vsock becomes usable here."""
    if device.exists():
        return open_device(device)
    return f"load its kernel module: {as_root('modprobe vhost_vsock')}"


def install_vhost_device_vsock() -> str:
    """How vhost-device-vsock comes onto this host."""
    if family() == "fedora" and os_release().get("ID") == "fedora":
        return f"install vhost-device-vsock: {as_root('dnf install vhost-device-vsock')}"
    if family() == "debian":
        return f"install vhost-device-vsock 0.3.0 or newer: the package of {DAEMON_PAGE} runs on older releases, too"
    return "install vhost-device-vsock 0.3.0 or newer: cargo install vhost-device-vsock"


def any_transport(device: Path) -> str:
    """How the guest becomes reachable on a host that has neither of the two ways."""
    return f"{use_vhost_vsock(device)}; or {install_vhost_device_vsock()}"


def start_libvirt() -> str:
    """How the system's libvirt is installed and started."""
    units = {"fedora": "virtqemud.socket", "suse": "virtqemud.socket", "arch": "libvirtd.socket"}
    here = family()
    if here == "alpine":
        start = as_root("rc-service libvirtd start")
    elif SYSTEMD.is_dir():
        start = as_root(f"systemctl enable --now {units.get(here or '', 'libvirtd')}")
    else:
        start = f"{as_root('virtlogd --daemon')} && {as_root('libvirtd --daemon')}"
    return (
        f"start it: {start}" if has_libvirt_daemon() else f"{install('libvirt-system', 'qemu')}, and start it: {start}"
    )


def has_libvirt_daemon() -> bool:
    """Whether the daemon is installed, the one for all or the one for QEMU."""
    return any(shutil.which(name, path=DAEMON_PATH) for name in ("libvirtd", "virtqemud"))


def is_local(uri: str) -> bool:
    """Whether a libvirt URI means a daemon of this host."""
    return re.match(r"qemu(\+unix)?:///", uri) is not None


def reach_libvirt(uri: str) -> str:
    """How a libvirt that does not answer is made to: the session's is started by whoever asks for it."""
    if not is_local(uri):
        return "check the URI, and the libvirt that it means; without one rum takes this host's"
    return start_libvirt() if "///system" in uri else install("libvirt", "qemu", "qemu-img")


def use_libvirt() -> str:
    """What a user does whom the system's libvirt refuses."""
    join = as_root(f"usermod -a -G libvirt {shlex.quote(user_name())}")
    return (
        f'use your own session (advanced.libvirt_uri = "qemu:///session"), or join the group, then log in again: {join}'
    )


def install_libvirt_module(problem: str) -> str:
    """How Python comes to `import libvirt`; `problem` is what the import has said."""
    if "libvirt" in problem and ".so" in problem:
        return install("libvirt")
    # There are no wheels of it: pip compiles it against the libvirt that is here.
    return f"{install('libvirt-headers')}, then into the Python that rum runs in: python3 -m pip install libvirt-python"


def allow_user_namespaces() -> str:
    """How a user may make a user namespace, as far as the kernel says what forbids it."""
    for name, value in (
        ("kernel.apparmor_restrict_unprivileged_userns", "0"),
        ("kernel.unprivileged_userns_clone", "1"),
        ("user.max_user_namespaces", "15000"),
    ):
        if forbids(name):
            return f"allow user namespaces: {as_root(f'sysctl -w {name}={value}')}"
    return "allow user namespaces; in a container, whoever starts it has to"


def forbids(name: str) -> bool:
    """Whether a sysctl keeps users from making user namespaces."""
    try:
        value = Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except OSError:
        return False
    return value == ("1" if name.startswith("kernel.apparmor") else "0")


def missing(program: str, need: str) -> HostError:
    """The error for a program that is not installed."""
    return HostError(f"there is no {program} in PATH", hint=install(need), code="missing-program")
