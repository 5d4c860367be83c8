"""One HTTP request, and why it failed.

urllib and not a larger library: it takes the system's certificates and the proxy variables, which is what a company's
network needs, and what is missing for downloads (resuming, stalls, retries) no library has either.
"""

from __future__ import annotations

import contextlib
import http.client
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from http.client import HTTPMessage, HTTPResponse
from typing import IO

from rum import __version__
from rum.host.errors import HostError

TIMEOUT_S = 60.0
"""Without a byte for so long the server counts as gone."""

SCHEMES = ("http", "https")
PASSING_STATUS = (408, 425, 429, 500, 502, 503, 504)
"""Those that another attempt can be lucky with (RFC 9110 15.5, 15.6; RFC 6585 4; RFC 8470 5.2)."""

PASSING_ERRORS = (TimeoutError, ConnectionResetError, http.client.RemoteDisconnected)
UNREACHABLE_HINT = "check the network; RUM_IMAGE_MIRROR names a directory or URL to take images from instead"
AGAIN_HINT = "run the command again; it goes on from there"


class DownloadError(HostError):
    """The server was not reached, refused, or broke off; what arrived is kept, the next attempt goes on from there."""

    code = "download"
    advice = "check the URL and the network"


class NotPublishedError(DownloadError):
    """The server has no such file."""

    code = "not-published"


class PassingError(DownloadError):
    """What may have passed at the next attempt."""


class RangeRefusedError(DownloadError):
    """The server has nothing from that byte on."""


class CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, never from an encrypted connection to one that anybody can change."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        """The request to the new place. Raises DownloadError."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme not in SCHEMES or (req.type == "https" and scheme != "https"):
            fp.close()
            raise DownloadError(f"{req.full_url} leads to {newurl}, which is not encrypted; rum does not follow it")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def get(url: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    """The response to a GET request, redirects followed. Raises DownloadError."""
    request = urllib.request.Request(url, headers={"User-Agent": f"rum/{__version__}", **(headers or {})})
    try:
        response: HTTPResponse = urllib.request.build_opener(CarefulRedirects).open(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as exc:
        exc.close()
        raise refusal(url, exc) from exc
    except (OSError, http.client.HTTPException, ValueError) as exc:
        cause = exc.reason if isinstance(exc, urllib.error.URLError) else exc
        kind = PassingError if isinstance(cause, PASSING_ERRORS) else DownloadError
        raise kind(f"{url} cannot be reached: {reason(cause)}", hint=UNREACHABLE_HINT) from exc
    return response


def refusal(url: str, exc: urllib.error.HTTPError) -> DownloadError:
    """What an answer that is no success comes to."""
    if 300 <= exc.code < 400:
        return DownloadError(f"{url} cannot be downloaded: its redirects lead nowhere")
    text = f"{url} cannot be downloaded: the server says {exc.code} {exc.reason}".rstrip()
    if exc.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        return RangeRefusedError(text)
    if exc.code in (http.client.NOT_FOUND, http.client.GONE):
        return NotPublishedError(text)
    return PassingError(text, hint="try again later") if exc.code in PASSING_STATUS else DownloadError(text)


@contextlib.contextmanager
def reading(url: str) -> Iterator[None]:
    """Turn the errors of a body that is being read into PassingError."""
    try:
        yield
    except TimeoutError as exc:
        text = f"the download of {url} stalls: nothing has arrived for {TIMEOUT_S:.0f} s"
        raise PassingError(text, hint=AGAIN_HINT) from exc
    except (OSError, http.client.HTTPException) as exc:
        raise PassingError(f"the download of {url} broke off: {reason(exc)}", hint=AGAIN_HINT) from exc


def reason(cause: BaseException | str) -> str:
    """An error's reason in words."""
    if isinstance(cause, http.client.IncompleteRead):
        return "the connection was closed"
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause) or type(cause).__name__
