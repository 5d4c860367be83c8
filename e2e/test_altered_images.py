"""Images in which the agent cannot be reached or cannot work: the command says why, within the deadline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.conftest import MakeProject, Measured, build_image
from e2e.images import altered

NO_DRIVER = {"etc/modprobe.d/no-vsock.conf": "install vmw_vsock_virtio_transport /bin/false\n"}
NO_VSOCK = {"etc/modprobe.d/no-vsock.conf": "install vsock /bin/false\n"}
READ_ONLY = {"etc/fstab": "LABEL=root / ext4 ro 0 1\n"}

# What a SELinux policy that knows nothing of the agent does to it: EACCES from socket(2).
DENIED = {"etc/systemd/system/rum-agent.service.d/denied.conf": "[Service]\nSystemCallFilter=~socket:EACCES\n"}


@pytest.fixture
def altered_image(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Debian 12 with these files; gone after the test, because each is a disk."""
    path = tmp_path / "altered.raw"
    altered.copy(Path(build_image("debian-12")), path, request.param)
    yield str(path)
    path.unlink()


@pytest.mark.parametrize(
    ("altered_image", "said"),
    [
        pytest.param(NO_DRIVER, "no virtio-vsock driver", id="no-driver"),
        pytest.param(NO_VSOCK, "no AF_VSOCK", id="no-vsock"),
        pytest.param(DENIED, "does not let its agent use vsock (Permission denied)", id="denied"),
        pytest.param(READ_ONLY, "read-only", id="read-only"),
    ],
    indirect=["altered_image"],
)
def test_says_why_the_agent_does_not_answer(
    make_project: MakeProject, measured: Measured, altered_image: str, said: str
) -> None:
    project = make_project("altered", base=altered_image)
    project.configure(project.with_boot_timeout(30))
    outcome = project.rum("up")
    sentence = next((line for line in outcome.stderr.splitlines() if line.startswith("rum: ")), outcome.stderr)
    measured(f"{outcome.seconds:.0f} s, exit {outcome.exit}: {sentence}")
    try:
        assert outcome.exit == 4, outcome.stderr
        assert said in outcome.stderr
        assert project.status()["state"] == "running", "it can be looked at"
    finally:
        project.rum("destroy", "-y")
