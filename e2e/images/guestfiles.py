"""The files a Debian cloud image has beyond its packages; the cloud team's image builder writes the same ones."""

from collections.abc import Iterable, Mapping

from e2e.images import archive

ROOT_LABEL = "root"
KERNEL_OPTIONS = "console=tty0 console=ttyS0,115200 earlyprintk=ttyS0,115200 consoleblank=0"

_FSTAB = f"""\
LABEL={ROOT_LABEL} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
"""

# The first boot's menu. A kernel upgrade inside the guest replaces it by what update-grub writes.
_GRUB_CFG = f"""\
set timeout=0
serial --speed=115200
terminal_input console serial
terminal_output console serial
search --no-floppy --label {ROOT_LABEL} --set=root
menuentry 'Debian GNU/Linux' {{
    linux /vmlinuz root=LABEL={ROOT_LABEL} ro {KERNEL_OPTIONS}
    initrd /initrd.img
}}
"""

# The signed GRUB looks for this file first, on the partition it was started from.
EFI_GRUB_CFG = f"""\
search --no-floppy --label {ROOT_LABEL} --set=root
set prefix=($root)/boot/grub
configfile $prefix/grub.cfg
"""

NETPLAN_DHCP: Mapping[str, str] = {
    "etc/netplan/90-default.yaml": """\
network:
  version: 2
  ethernets:
    all-en:
      match: {name: "en*"}
      dhcp4: true
      dhcp6: true
""",
}
NETWORKD_DHCP: Mapping[str, str] = {
    "etc/systemd/network/90-default.network": """\
[Match]
Name=en*

[Network]
DHCP=yes
""",
}

LINKS: Mapping[str, str] = {"etc/resolv.conf": "../run/systemd/resolve/stub-resolv.conf"}


def common_files(suite: str, pockets: Iterable[str]) -> dict[str, str]:
    """Guest path to content of what every image of that suite has."""
    sources = archive.source_lines(archive.Mirror(), suite, pockets)
    return {
        "boot/grub/grub.cfg": _GRUB_CFG,
        "etc/apt/sources.list": "".join(f"{line}\n" for line in sources),
        "etc/default/locale": "LANG=C.UTF-8\n",
        "etc/fstab": _FSTAB,
        "etc/hostname": "localhost\n",
    }
