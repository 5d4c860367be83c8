"""What experiments are given: VMs of their own, or the guest that they share, and the ways into it."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from e2e.bench.raw import RawPeer
from e2e.bench.user_network import free_port
from e2e.bench.ways import GuestAgent, Ssh
from e2e.project import Project
from rum.host import GuestVm, open_guest

GUEST_PORT = 8000
"""On the guest's loopback; a port of this host leads there."""

SHARED = """
[resources]
cpus = 2
memory_mb = 1024
disk = "6G"

[provision.system]
after = "network-online"
script = '''
command -v qemu-ga && exit
apt-get update && apt-get install -y --no-install-recommends qemu-guest-agent
'''
"""
"""Where the image has no qemu-guest-agent, a network has to bring it."""

FORWARD = """
[[ports]]
host = {}
guest = {}
"""


class Bench:
    """One run of the benchmark. `quick`: everything once and small, to try things out; nothing of it is a result."""

    def __init__(self, image: str, patience: int, *, quick: bool) -> None:
        self.image = image
        self.patience = patience
        self.quick = quick
        self._made = contextlib.ExitStack()
        self.directory = Path(self._made.enter_context(tempfile.TemporaryDirectory(prefix="rum-bench-")))
        """Scratch, removed afterwards."""
        self._shared_failed = False
        # For commands and for the library alike, which has it from this process.
        os.environ["XDG_STATE_HOME"] = str(self.directory / "state")

    def many(self, real: int, quick: int = 1) -> int:
        """How often, or how much, with and without `quick`."""
        return quick if self.quick else real

    def note(self, text: str) -> None:
        """Tell whoever watches how far it is."""
        sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
        sys.stderr.flush()

    @contextlib.contextmanager
    def project(self, name: str, toml: str) -> Iterator[Project]:
        """A project whose rum.toml is that text after `[image]`; its VM is destroyed at the block's end."""
        directory = self.directory / name
        directory.mkdir()
        (directory / "rum.toml").write_text(f"[image]\nbase = {json.dumps(self.image)}\n{toml}", encoding="utf-8")
        project = Project(directory, self.image, self.patience, env={"XDG_STATE_HOME": os.environ["XDG_STATE_HOME"]})
        try:
            yield project
        finally:
            project.rum("destroy", "-y")

    @cached_property
    def shared(self) -> Project:
        """The guest that experiments share, up; to be left as it was found."""
        assert not self._shared_failed, "the shared guest did not come up"
        self._shared_failed = True
        self.note("the shared guest is started")
        project = self._made.enter_context(self.project("shared", SHARED + FORWARD.format(self.port, GUEST_PORT)))
        project.up()
        self._shared_failed = False
        return project

    @cached_property
    def port(self) -> int:
        """The port of this host that rum forwards to GUEST_PORT of the shared guest."""
        return free_port()

    @contextlib.contextmanager
    def configured(self, more: str) -> Iterator[None]:
        """Within the block the shared guest's rum.toml has these lines, too."""
        file = self.shared.directory / "rum.toml"
        before = file.read_text(encoding="utf-8")
        file.write_text(before + more, encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(before, encoding="utf-8")

    @cached_property
    def guest(self) -> GuestVm:
        """The shared guest by rum's own way."""
        return open_guest(self.shared.directory / "rum.toml")

    @cached_property
    def ssh(self) -> Ssh:
        """ssh to the shared guest, with sshd up and a connection open."""
        made = Ssh(self.shared, self.directory)
        self._made.callback(made.close)
        made.prepare()
        return made

    @cached_property
    def guest_agent(self) -> GuestAgent:
        """qemu-guest-agent in the shared guest."""
        return GuestAgent(self.shared, self.guest)

    @cached_property
    def raw(self) -> RawPeer:
        """What the transport to the shared guest does by itself."""
        return RawPeer(self.shared, self.guest)

    def close(self) -> None:
        """Destroy what is left."""
        self._made.close()
