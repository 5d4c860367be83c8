"""What commands print that are asked for something; each is the only line of its command."""

from __future__ import annotations

from typing import Literal, NotRequired, TypedDict

from rum.host.json_lines.events import Ending

State = Literal["absent", "stopped", "running", "paused", "crashed", "unknown"]


class LastResult(Ending):
    """How a script ended the last time."""

    run_id: str
    boot_id: str
    sha256: str
    """Of the script as it was then."""


class KnownScript(TypedDict):
    """A script that the agent has been sent."""

    name: str
    order: int
    run_on: str
    """`system` or `boot`."""
    sha256: str
    """Of its text and environment."""
    last: LastResult | None


class Position(TypedDict):
    """Where a run that goes on has come to."""

    run_id: str
    trigger: str
    script: str | None
    index: int
    total: int


class Agent(TypedDict):
    """What the agent says of itself."""

    agent_version: str
    python: str
    boot_id: str
    vm_id: str
    uptime_s: float
    """Since the guest booted."""
    system_provisioned: bool
    run: Position | None
    scripts: list[KnownScript]


class ForwardedPort(TypedDict):
    """A port of this host that leads into the guest."""

    bind: str
    host: int
    guest: int
    auto: bool
    """Whether it is there because somebody in the guest listens, by `[auto_ports]`."""


class LastRun(TypedDict):
    """The latest run: its beginning and, once it is over, its result."""

    run_id: str
    trigger: str
    boot_id: str
    first_boot: bool
    scripts: list[str]
    running: bool
    """Whether it goes on, so that there is no result yet."""
    success: bool | None
    failed_script: NotRequired[str | None]
    exit_code: NotRequired[int | None]
    signal: NotRequired[int | None]
    timed_out: NotRequired[bool]
    cancelled: NotRequired[bool]
    interrupted: NotRequired[bool]
    ran: NotRequired[list[str]]
    skipped: NotRequired[list[str]]
    changed: NotRequired[list[str]]
    system_provisioned: NotRequired[bool]


class Run(Ending):
    """`rum logs --list`: a line for each run, the latest last, then `done`."""

    type: Literal["run"]
    run_id: str
    trigger: str | None
    """`host`, or `boot` for a run that the agent has begun by itself."""
    boot_id: str | None
    first_boot: bool
    started_us: int | None
    """When its first script was started, in microseconds since the epoch; null before that."""
    duration_ms: int
    """What its scripts have taken, waits left out."""
    running: bool
    success: bool | None
    """Null while it is running."""
    failed_script: str | None
    cancelled: bool
    interrupted: bool
    in_guest: bool
    """Whether the guest has its record."""
    on_host: bool
    """Whether this host has its whole record, so that it can be shown without the guest."""


class DriveFile(TypedDict):
    """A drive of `[drives]`, in or out of rum.toml."""

    name: str
    size_bytes: int | None
    """Null where its file is damaged."""
    attached: bool


class MountedDirectory(TypedDict):
    """A directory of this host that the VM was started with."""

    source: str
    target: str
    readonly: bool


class Status(TypedDict):
    """`rum status`: the only line."""

    type: Literal["status"]
    name: str
    id: str
    config: str
    """Its rum.toml, which need not be there any more."""
    state: State
    """`unknown`: libvirt cannot be asked, and the agent does not answer."""
    provisioned: bool
    """Whether every System script has passed."""
    accelerator: str | None
    """`kvm` or `tcg`; null where it was never started."""
    transport: str | None
    """`vhost-vsock` or `vhost-user`."""
    cpus: int | None
    memory_mb: int | None
    """As of the last start."""
    agent: Agent | None
    """Null where it does not answer."""
    ports: list[ForwardedPort]
    drives: list[DriveFile]
    mounts: list[MountedDirectory]
    last_run: LastRun | None
    console: str | None
    """The last line of a running VM's console whose agent does not answer."""
    warnings: list[str]
    """What is not as it should be, for people."""
    next: str | None
    """What can be done now, for people."""


class ListedVm(TypedDict):
    """`rum list`: a line for each VM."""

    type: Literal["vm"]
    name: str
    id: str
    config: str | None
    """Its rum.toml; null where nothing can be read of the VM."""
    config_exists: bool
    state: State | Literal["creating"]
    """As in Status; `creating` while its first `rum up` makes its files."""
    provisioned: bool | None
    """As in Status; null where nobody knows."""
    accelerator: str | None
    created: str | None
    """In ISO 8601."""
    uptime_s: float | None
    """As the agent says it; null where it does not answer."""
    disk_bytes: int
    """What its files take on this host."""
    directory: str
    """Where they are."""
    problem: str | None
    """Why its state is `unknown`, or `paused` without anybody having asked for it."""


class Version(TypedDict):
    """`rum version`: the only line."""

    type: Literal["version"]
    version: str
    protocol: int
    """Between rum and its agent."""
    schema: Literal[1]
    """Of these lines."""
    python: str


class KnownImage(TypedDict):
    """An image that rum knows by name."""

    name: str
    url: str
    firmware: list[str]
    """What it can be started by; the first is the default."""


class ImageUser(TypedDict):
    """A VM that stands on an image."""

    name: str
    config: str
    """Its rum.toml."""


class DownloadedImage(TypedDict):
    """A file of the image cache."""

    name: str | None
    url: str | None
    path: str
    size: int
    """In bytes."""
    whole: bool
    """False: a download that goes on, or was broken off."""
    modified: str
    """In ISO 8601."""
    used_by: list[ImageUser]


class UnreadableVm(TypedDict):
    """A VM whose state cannot be read, so that it may stand on any image."""

    name: str
    problem: str


class Images(TypedDict):
    """`rum image list`: the only line."""

    type: Literal["images"]
    architecture: str
    directory: str
    size: int
    """Of all files, in bytes."""
    catalogue: list[KnownImage]
    images: list[DownloadedImage]
    unreadable_vms: list[UnreadableVm]


class CheckedConfig(TypedDict):
    """`rum config check` of a file that is right: the only line."""

    type: Literal["config"]
    valid: Literal[True]
    path: str
    name: str
    id: str
    image: str
    cpus: int
    memory_mb: int
    disk_bytes: int
    drives: list[str]
    mounts: list[str]
    """Their targets."""
    ports: list[int]
    """Of this host."""
    scripts: list[str]


class SshConfig(TypedDict):
    """`rum ssh-config`: the only line."""

    type: Literal["ssh-config"]
    config: str
    """A Host block of ssh_config(5)."""


class Check(TypedDict):
    """What `rum doctor` has found of one requirement: a line for each, the worst first, and then `done`."""

    type: Literal["check"]
    name: str
    """`accelerator`, `libvirt`, `transport` and others."""
    status: Literal["missing", "slower", "optional", "ok"]
    """`missing`: `rum up` cannot work; `slower`: it is slow; `optional`: what not every VM has does not work."""
    found: str
    """What there is, or is not, for people."""
    why: str
    """Why it matters, for people."""
    fix: str | None
    """What to do, the command for this distribution included; null where there is nothing to do."""


class Completion(TypedDict):
    """`rum completion`: the only line."""

    type: Literal["completion"]
    shell: str
    script: str


Answer = Status | ListedVm | Run | Version | Images | CheckedConfig | SshConfig | Check | Completion
"""Any of them; `type` says which. `rum config schema` prints something else: the JSON Schema of rum.toml."""
