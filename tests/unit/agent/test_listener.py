"""Where the agent listens."""

from __future__ import annotations

import subprocess

import pytest

from tests.unit.agent.harness import CHECKOUT, PYTHON, Agent


@pytest.mark.parametrize("address", ["tcp:2222", "vsock:", "vsock:ssh", "unix:", "", "unix:/no/such/directory/socket"])
def test_an_address_that_cannot_be_listened_at_is_one_sentence(guest: Agent, address: str) -> None:
    command = [PYTHON, "-S", "-m", "rum.agent", "--listen", address, "--root", str(guest.root)]
    done = subprocess.run(
        [*command, "--key", str(guest.key_file)], cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (1, "")
    (sentence,) = done.stderr.splitlines()
    assert sentence.startswith(f"rum-agent: cannot listen at {address}: ")
