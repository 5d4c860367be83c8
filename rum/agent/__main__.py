"""Start the agent; what keeps it from starting is one sentence on stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from rum import __version__
from rum.agent.daemon import Daemon
from rum.agent.descriptors import raise_limit
from rum.agent.listener import open_listener
from rum.agent.methods import serve_request
from rum.agent.settings import Settings, parse_arguments
from rum.agent.spawn import heed_signals
from rum.protocol.handshake import parse_key


def read_key(settings: Settings) -> bytes:
    """The VM's key. Raises OSError and ValueError."""
    with open(settings.key_file, encoding="ascii") as file:
        return parse_key(file.read())


def main(argv: Sequence[str]) -> int:
    """Serve until SIGTERM; 1 where the agent cannot start, so that systemd tries again."""
    settings = parse_arguments(argv)
    raise_limit()
    heed_signals()
    try:
        key = read_key(settings)
    except (OSError, ValueError) as exc:
        return fail(f"cannot read the key {settings.key_file}: {exc}")
    try:
        listener = open_listener(settings.listen)
    except (OSError, ValueError) as exc:
        return fail(f"cannot listen at {settings.listen}: {exc}")
    try:
        daemon = Daemon(settings, key, __version__, serve_request)
    except OSError as exc:
        return fail(f"cannot use {settings.state_dir}: {exc}")
    daemon.serve(listener)
    return 0


def fail(sentence: str) -> int:
    """Say why the agent does not start."""
    sys.stderr.write(f"rum-agent: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
