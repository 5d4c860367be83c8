"""An agent for each test, gone with everything it started when the test is over."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rum.host.bundle import build_agent_zipapp
from tests.unit.agent.harness import Agent, adopt_orphans


@contextlib.contextmanager
def agent_in(root: Path) -> Iterator[Agent]:
    """An agent that has not been started yet; afterwards nothing of it is left."""
    adopt_orphans()
    # Not below the root: the path of a Unix socket is short (unix(7)).
    socket_dir = tempfile.mkdtemp(prefix="rum-")
    agent = Agent(root, socket_dir)
    try:
        yield agent
    finally:
        shutil.rmtree(socket_dir)
        agent.clean_up()


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Agent]:
    """An agent that has not been started yet."""
    with agent_in(tmp_path) as agent:
        yield agent


@pytest.fixture(scope="module")
def resident(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """One agent for all tests of a module that leave it as it was."""
    with agent_in(tmp_path_factory.mktemp("resident")) as agent:
        yield agent.start()


@pytest.fixture
def shipped(guest: Agent, tmp_path: Path) -> Agent:
    """The agent as one file, run by an isolated interpreter as in a guest; not started yet."""
    zipapp = tmp_path / "rum-agent"
    zipapp.write_bytes(build_agent_zipapp())
    guest.program = ["-I", "-S", str(zipapp)]
    # Anything to begin with would keep it from being run as a file.
    guest.setup = ""
    return guest


@pytest.fixture
def agent(guest: Agent) -> Agent:
    """An agent that answers."""
    return guest.start()
