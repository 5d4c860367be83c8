"""An agent for each test, gone with everything it started when the test is over."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.agent.harness import Agent, adopt_orphans


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Agent]:
    """An agent that has not been started yet."""
    adopt_orphans()
    # Not below tmp_path: the path of a Unix socket is short (unix(7)).
    socket_dir = tempfile.mkdtemp(prefix="rum-")
    agent = Agent(tmp_path, socket_dir)
    try:
        yield agent
    finally:
        shutil.rmtree(socket_dir)
        agent.clean_up()


@pytest.fixture
def agent(guest: Agent) -> Agent:
    """An agent that answers."""
    return guest.start()
