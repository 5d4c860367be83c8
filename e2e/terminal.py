"""`rum` in a user's terminal: its keys reach the whole foreground process group, as they do from a keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pexpect

from e2e.project import Project, heed_interrupts


@contextmanager
def terminal(project: Project, *arguments: str, size: tuple[int, int] = (24, 80)) -> Iterator[pexpect.spawn]:
    """A terminal of so many rows and columns with the command in it; the command is hung up at the block's end."""
    program, *rest = project.command(*arguments)
    child = pexpect.spawn(
        program,
        rest,
        env={**project.environment, "TERM": "xterm"},
        dimensions=size,
        timeout=30 * project.patience,
        preexec_fn=heed_interrupts,
    )
    with closing(child):
        yield child


def status_of(child: pexpect.spawn) -> int:
    """The exit status, once everything that was shown has been read."""
    child.expect(pexpect.EOF)
    child.wait()
    assert child.exitstatus is not None, f"it was killed by signal {child.signalstatus}"
    return int(child.exitstatus)
