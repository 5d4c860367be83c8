"""What this rum.toml needs beyond what every VM does."""

from __future__ import annotations

import os
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from rum.host.config.model import Config
from rum.host.doctor.finding import Finding, Host, Status, needed
from rum.host.errors import HostError
from rum.host.images.cache import Source, cache_path, newest_verified
from rum.host.images.catalogue import catalogue_image
from rum.host.images.http_get import UNREACHABLE_HINT, reason
from rum.host.images.reference import image_file, is_known_name, is_url
from rum.host.images.resolve import configured_checksum, mirror_directory, published
from rum.host.paths import VmPaths
from rum.host.ports.host_ports import bind_port, explained
from rum.host.vm.architecture import host_architecture

NETWORK_TIMEOUT_S = 3.0


def rum_toml(host: Host) -> Finding | None:
    """Whether there is one, and whether it is right."""
    if host.trouble:
        return host.trouble
    return Finding(Status.OK, str(host.config.path)) if host.config else None


def image(host: Host) -> Finding | None:
    """Whether the image is on this host, or where it can be had."""
    if host.config is None:
        return None
    if VmPaths.of(host.config.identity).overlay.exists():
        return Finding(Status.OK, "the VM has its disk already")
    try:
        here, url = places(host.config)
    except HostError as exc:
        return needed(exc)
    if here:
        return Finding(Status.OK, f"{host.config.image.base} is in {here}")
    refused = why_unreachable(url) if url else "there is no such file"
    if refused:
        text = f"{host.config.image.base} is not on this host, and {url or 'its mirror'} is out of reach: {refused}"
        return Finding(Status.MISSING, text, UNREACHABLE_HINT)
    return Finding(Status.OK, f"{host.config.image.base} will be downloaded from {url}")


def places(config: Config) -> tuple[Path | None, str | None]:
    """The image's file where it is here, and else the URL that is asked first. Raises HostError."""
    base = config.image.base
    if is_url(base):
        path = cache_path(Source(base, configured_checksum(config.image)))
        return (path if path.exists() else None), base
    if not is_known_name(base, config.path.parent):
        path = image_file(base, config.path.parent)
        if not os.path.isfile(path):
            raise HostError(f"there is no image file {path}", hint="check image.base in rum.toml")
        return path, None
    found = published(base)
    if found is None:
        path = mirror_directory() / catalogue_image(base, host_architecture()).file
        return (path if os.path.exists(path) else None), None
    directory = found.directories[0]
    return newest_verified(f"{directory}/{found.file}"), f"{directory}/{found.lists[0]}"


def why_unreachable(url: str) -> str | None:
    """Why nothing comes from a URL, None where its server answers.

    In a thread: the look-up of a name has no deadline of its own.
    """
    said = [f"no answer within {NETWORK_TIMEOUT_S:.0f} s"]

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            urllib.request.urlopen(request, timeout=NETWORK_TIMEOUT_S).close()
        except urllib.error.HTTPError as exc:
            said[:] = [f"the server answers {exc.code} {exc.reason}"]
        except (OSError, ValueError) as exc:
            said[:] = [reason(exc.reason if isinstance(exc, urllib.error.URLError) else exc)]
        else:
            said.clear()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(NETWORK_TIMEOUT_S)
    return said[0] if said else None


def ports(host: Host) -> Finding | None:
    """Whether the ports of rum.toml are free, or the VM's already."""
    if host.config is None or not host.config.ports:
        return None
    wrong = list(taken(host.config))
    if wrong:
        return Finding(Status.MISSING, "; ".join(str(error) for error in wrong), wrong[0].hint)
    return Finding(Status.OK, f"{', '.join(str(port.host) for port in host.config.ports)} can be forwarded")


def taken(config: Config) -> Iterator[HostError]:
    """The errors for ports that somebody else has."""
    own = VmPaths.of(config.identity).name
    for port in config.ports:
        try:
            bind_port(port.bind, port.host).close()
        except OSError as exc:
            error = explained(port.bind, port.host, exc)
            if f"the VM {own} " not in str(error):
                yield error
