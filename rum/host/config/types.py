"""The kinds of values that rum.toml holds, each with what the user is told is allowed."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic.fields import FieldInfo

from rum.host import sizes
from rum.protocol.limits import TIMEOUT_MAX_S
from rum.protocol.scripts import NAME as SCRIPT_NAME

ALLOWED = "x-allowed"
"""The keyword of the JSON Schema with the end of the sentence "must be ..."."""

HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HOSTNAME_MAX = 64
"""HOST_NAME_MAX of Linux, below the 255 of RFC 1123."""

TAG_MAX = 36
"""Bytes of the `tag` field in the device's configuration (virtio 1.2, section 5.11.4)."""

SIZE_MIN = 1 << 20

PLAIN = r"[^\x00-\x1f\x7f]"
"""Any character but the control characters of ASCII; the others are found by str.isprintable()."""

POOL_NAME = "[A-Za-z][A-Za-z0-9_.:-]{0,63}"
POOL_RESERVED = "log|(?:mirror|raidz|draid|spare).*"


def text(
    allowed: str, pattern: str | None = None, *, min_length: int | None = None, max_length: int | None = None
) -> FieldInfo:
    """A field of which a wrong value is answered with "must be <allowed>". The pattern is of the whole value."""
    whole = None if pattern is None else f"^(?:{pattern})$"
    info: FieldInfo = Field(
        pattern=whole, min_length=min_length, max_length=max_length, json_schema_extra={ALLOWED: allowed}
    )
    return info


def only(accept: Callable[[str], object]) -> AfterValidator:
    """A condition that a JSON Schema cannot express."""

    def check(value: str) -> str:
        if not accept(value):
            raise ValueError("not allowed")
        return value

    return AfterValidator(check)


def is_guest_path(path: str) -> bool:
    """Whether it is absolute, normalised, and not the root itself."""
    normalised = posixpath.normpath(path) == path and not path.startswith("//")
    return path.startswith("/") and path != "/" and normalised and path.isprintable()


def is_pool_name(name: str) -> bool:
    """Whether ZFS takes it as a pool's name (zpool-create(8))."""
    return re.fullmatch(POOL_NAME, name) is not None and re.fullmatch(POOL_RESERVED, name) is None


def is_ip(value: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    try:
        return bool(ipaddress.ip_address(value))
    except ValueError:
        return False


def is_host_in_network(value: str) -> bool:
    """Whether it is a host's address with the length of its network's prefix."""
    try:
        interface = ipaddress.ip_interface(value)
    except ValueError:
        return False
    network = interface.network
    is_broadcast = interface.version == 4 and interface.ip == network.broadcast_address
    # RFC 3021 and a host alone have neither address.
    return network.num_addresses <= 2 or not (is_broadcast or interface.ip == network.network_address)


def port_range(value: str) -> tuple[int, int] | None:
    """The two ends of "LOW-HIGH", None for anything else."""
    found = re.fullmatch(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})", value, re.ASCII)
    if found is None:
        return None
    low, high = int(found[1]), int(found[2])
    return (low, high) if low <= high <= 65535 else None


Size = Annotated[str, text(sizes.ALLOWED, "[1-9][0-9]{0,12}[KMGT]"), only(sizes.parse_size)]
DriveSize = Annotated[
    str,
    text('a size such as "512M", "20G" or "1T", from "1M" to "64T"', "[1-9][0-9]{0,12}[MGT]|[1-9][0-9]{3,12}K"),
    only(lambda value: (sizes.parse_size(value) or 0) >= SIZE_MIN),
]
ImageBase = Annotated[
    str,
    text(
        'a name such as "debian-12", a path or a URL, without control characters',
        rf"{PLAIN}*[^\s\x00-\x1f\x7f]{PLAIN}*",
    ),
    only(lambda value: value.strip() and value.isprintable()),
]
Sha256 = Annotated[str, text("64 hexadecimal digits", "[0-9a-fA-F]{64}")]
Sha512 = Annotated[str, text("128 hexadecimal digits", "[0-9a-fA-F]{128}")]
Hostname = Annotated[
    str,
    text(
        "a host name of RFC 1123: labels of letters, digits and inner hyphens, "
        f"at most {HOSTNAME_MAX} characters together",
        rf"{HOST_LABEL}(?:\.{HOST_LABEL})*",
        max_length=HOSTNAME_MAX,
    ),
]
Account = Annotated[
    str,
    text(
        "a lower-case letter or underscore, then lower-case letters, digits, _ and -, at most 32 characters",
        "[a-z_][a-z0-9_-]{0,31}",
    ),
]
PublicKey = Annotated[
    str,
    text('one line of an SSH public key file, such as "ssh-ed25519 AAAA... me@here"', r"\s*\S+\s+\S.*"),
    only(str.isprintable),
]
NetworkName = Annotated[
    str,
    text(
        "the name of a libvirt network: letters, digits, '.', '_' and '-', a letter or digit first, "
        "at most 64 characters",
        "[A-Za-z0-9][A-Za-z0-9._-]{0,63}",
    ),
]
HostInNetwork = Annotated[
    str,
    text(
        'the address of a host with the length of its network\'s prefix, such as "192.168.50.2/24"',
        "[0-9a-fA-F.:]+/[0-9]{1,3}",
    ),
    only(is_host_in_network),
]
Bind = Annotated[str, text('an IP address of this host, such as "127.0.0.1"', "[0-9a-fA-F.:]+"), only(is_ip)]
PortNumber = Annotated[int, Field(ge=1, le=65535)]
PortRange = Annotated[
    str,
    text('two ports from 1 to 65535, the lower one first, such as "1024-65535"', "[1-9][0-9]{0,4}-[1-9][0-9]{0,4}"),
    only(port_range),
]
DriveName = Annotated[
    str,
    text("lower-case letters, digits and inner hyphens, at most 16 characters", "[a-z0-9](?:[a-z0-9-]{0,14}[a-z0-9])?"),
]
"""With "rum-" in front it is the disk's virtio serial, of which the guest sees 20 characters."""
DriveRef = Annotated[str, text("the name of a drive")]
FIRST = r"[^/.\x00-\x1f\x7f]"
NEXT = r"[^/\x00-\x1f\x7f]"
"""Of a path's component that is neither "." nor ".."."""
GuestPath = Annotated[
    str,
    text(
        'an absolute, normalised path other than /, without control characters, such as "/data"',
        rf"(?:/(?:{FIRST}{NEXT}*|\.{FIRST}{NEXT}*|\.\.{NEXT}+))+",
    ),
    only(is_guest_path),
]
HostPath = Annotated[
    str, text("the path of a directory, without control characters", f"{PLAIN}+"), only(str.isprintable)
]
Tag = Annotated[
    str,
    text(
        f"letters, digits, '.', '_' and '-', no '.' or '-' first, at most {TAG_MAX} characters",
        rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{TAG_MAX - 1}}}",
    ),
]
PoolName = Annotated[
    str,
    text(
        "the name of a ZFS pool: a letter, then letters, digits, '_', '-', ':' and '.', at most 64 characters; "
        "not log, nor what begins with mirror, raidz, draid or spare",
        POOL_NAME,
    ),
    only(is_pool_name),
]
ScriptName = Annotated[
    str,
    text(
        "a lower-case letter or digit, then lower-case letters, digits, '.', '_' and '-', at most 64 characters",
        SCRIPT_NAME.pattern,
    ),
]
ScriptText = Annotated[str, text("the script's text")]
Command = Annotated[
    str,
    text("a command line for sh, not empty and without NUL", r"(?:.|\n)*\S(?:.|\n)*"),
    only(lambda value: "\0" not in value),
]
ScriptFile = Annotated[str, text("a path without NUL", min_length=1), only(lambda value: "\0" not in value)]
Seconds = Annotated[
    float,
    Field(gt=0, le=TIMEOUT_MAX_S, json_schema_extra={ALLOWED: "a positive number of seconds"}, allow_inf_nan=False),
]
EnvName = Annotated[str, text("letters, digits and _, not a digit first", "[A-Za-z_][A-Za-z0-9_]*")]
EnvValue = Annotated[str, text("a string without NUL"), only(lambda value: "\0" not in value)]
Uri = Annotated[str, text("a libvirt URI", f"{PLAIN}+:{PLAIN}*"), only(str.isprintable)]
Machine = Annotated[
    str,
    text(
        'a machine type of QEMU, such as "q35"', r"q35|pc|pc-(?:q35|i440fx)-[a-z0-9.-]{1,32}|virt|virt-[a-z0-9.-]{1,32}"
    ),
]
