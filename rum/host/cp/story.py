"""What `rum cp` does, from the request to the sentence that it ends with."""

from __future__ import annotations

from rum.host.channel.guest import Guest
from rum.host.channel.reach import explained_loss, reach_agent
from rum.host.cp.download import Download
from rum.host.cp.failures import amount, with_copied
from rum.host.cp.request import CopyRequest
from rum.host.cp.session import CopySession
from rum.host.cp.upload import Upload
from rum.host.cp.watching import Watching
from rum.host.errors import RumError
from rum.host.events import Emit
from rum.host.outcome import Copied, Outcome
from rum.transfer.descriptors import allow_many
from rum.transfer.records import shown


def copy(guest: Guest, emit: Emit, request: CopyRequest) -> Outcome:
    """Copy. Raises RumError, BrokenPipeError where nobody reads standard output any more."""
    allow_many()
    watching = Watching(emit)
    way = Upload(request, watching) if request.to_guest else Download(request, watching)
    try:
        with explained_loss(guest), reach_agent(guest, emit) as connection:
            CopySession(connection, way.outgoing(), way.take).run(request.user)
        way.finish()
    except RumError as exc:
        raise with_copied(exc, way.copied) from exc
    finally:
        way.close()
        watching.end()
    return Outcome(sentence(request, way.copied), copied=way.copied)


def sentence(request: CopyRequest, copied: Copied) -> str:
    """What has been done; nothing where standard output is for what was copied."""
    if request.to_stdout:
        return ""
    return f"copied {amount(copied)} to {':' if request.to_guest else ''}{shown(request.destination)}"
