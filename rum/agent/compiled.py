"""The agent's modules as byte code, kept for its next start: compiling them takes more than half of one.

They lie in a zip file like the agent's own, whose name says of which zipapp and for which Python it is. The zipapp
looks there first (rum/host/bundle.py), so what does not fit is never read. It is written when cloud-init has finished,
by a process of its own: a boot has better things to do, and the agent would keep the memory that it takes.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import subprocess
import sys

from rum.agent import durable
from rum.agent.loop import READ, Loop
from rum.agent.service import find_archive
from rum.agent.settings import Settings
from rum.agent.waits import cloud_init_will_finish

LOOK_EVERY_S = 10.0
"""Whether it is time; a VM that is started only to be stopped again should have it, too."""

UNCHECKED_HASH = (1).to_bytes(4, "little") + bytes(8)
"""Byte code that is not compared with its source (PEP 552); the file's name has done that."""

PROGRAM = "import sys; sys.path[:0] = sys.argv[1:2]; from rum.agent.compiled import write; write(*sys.argv[1:])"


def keep_compiled(loop: Loop, settings: Settings) -> None:
    """Have it written in a while, unless this agent was started from it or from its sources."""
    archive, wanted = find_archive(), sys.path[0]
    if not archive or wanted == archive or os.path.exists(wanted):
        return

    def look() -> None:
        # The agent's share of the processor is large until the guest is up, and its children's is the same.
        if cloud_init_will_finish(settings):
            loop.call_later(LOOK_EVERY_S, look)
        else:
            start_writing(loop, archive, wanted)

    loop.call_later(LOOK_EVERY_S, look)


def start_writing(loop: Loop, archive: str, path: str) -> None:
    """Start the process that writes it, and do not leave it a zombie. Its failure costs nothing but time."""
    try:
        child = subprocess.Popen([sys.executable, "-I", "-S", "-c", PROGRAM, archive, path], stdin=subprocess.DEVNULL)
    except OSError:
        return
    pidfd = os.pidfd_open(child.pid)

    def ended() -> None:
        watch.want(0)
        os.close(pidfd)
        child.wait()

    watch = loop.watch(pidfd, lambda _events: ended())
    watch.want(READ)


def write(archive: str, path: str) -> None:
    """In that process: write it, and remove those of other agents."""
    os.nice(19)
    directory = os.path.dirname(path)
    # A disk without room, or one that cannot be written to.
    with contextlib.suppress(OSError):
        durable.make_dirs(directory)
        for name in os.listdir(directory):
            durable.remove(os.path.join(directory, name))
        durable.write_file(path, compile_all(archive))


def compile_all(archive: str) -> bytes:
    """The zip file for this Python, of the modules in that one."""
    # Not for the agent itself, which has no use for them.
    import io
    import zipfile
    from importlib.util import MAGIC_NUMBER

    made = io.BytesIO()
    with zipfile.ZipFile(archive) as sources, zipfile.ZipFile(made, "w") as compiled:
        for name in sources.namelist():
            code = compile(sources.read(name), os.path.join(archive, name), "exec", dont_inherit=True)
            compiled.writestr(f"{name}c", MAGIC_NUMBER + UNCHECKED_HASH + marshal.dumps(code))
    return made.getvalue()
