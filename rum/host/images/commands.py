"""`rum image list`, `pull` and `remove`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rum.host.config.model import ImageConfig
from rum.host.config.place import suggestion
from rum.host.errors import ConfigError, HostError
from rum.host.events import Emit, Notice
from rum.host.images.cache import origin_path
from rum.host.images.catalogue import CATALOGUE
from rum.host.images.download import discard
from rum.host.images.inventory import Cached, Inventory, take_inventory
from rum.host.images.lock import drop_lock, image_lock_if_free
from rum.host.images.reference import is_url, require_downloadable
from rum.host.images.resolve import describe_image, resolve_image
from rum.host.images.usage import Usage, find_usage
from rum.host.outcome import Outcome, counted
from rum.host.progress import phase
from rum.host.show.table import aligned
from rum.host.sizes import show_size


def inventory_lines(inventory: Inventory) -> list[str]:
    """What `rum image list` prints: the catalogue with what there is of it, then the rest of the cache."""
    rows = [("IMAGE", "DOWNLOADED", "SIZE", "USED BY", "FILE")]
    for name, entry in CATALOGUE.items():
        found = [image for image in inventory.images if image.name == name]
        if not found and inventory.architecture.name in entry:
            rows.append((name, "-", "", "", ""))
        rows += [_row(image) for image in found]
    rows += [_row(image) for image in inventory.images if image.name not in CATALOGUE]
    total = f"{counted(len(inventory.images), 'file')}, {show_size(inventory.size)} in {inventory.directory}"
    return [*aligned(rows), total]


def _row(image: Cached) -> tuple[str, str, str, str, str]:
    when = image.modified.astimezone().strftime("%Y-%m-%d %H:%M") if image.whole else "unfinished"
    return image.title, when, show_size(image.size), ", ".join(user.name for user in image.users), image.path.name


def pull(image: ImageConfig, emit: Emit) -> Outcome:
    """Download an image as `rum up` would. Raises ConfigError, HostError."""
    if image.base not in CATALOGUE and not is_url(image.base):
        raise ConfigError(
            f"{image.base} is neither a URL nor an image that rum knows{suggestion(image.base, CATALOGUE)}"
        )
    if is_url(image.base):
        try:
            require_downloadable(image.base)
        except ValueError as exc:
            raise ConfigError(f"{image.base!r}: {exc}", hint="`rum image list` shows what has a name") from exc
    with phase(emit, "image"):
        found = resolve_image(image, Path("/nonexistent"), emit)
    return Outcome(f"{describe_image(found)} is in {found.path}")


def remove(targets: Sequence[str], emit: Emit) -> Outcome:
    """Remove downloaded images by name, URL or file; all of them or, where one is in use, none. Raises RumError."""
    inventory = take_inventory()
    chosen: list[Cached] = []
    for target in targets:
        found = inventory.matching(target)
        if not found:
            raise ConfigError(f"{target} is no downloaded image", hint="see what there is: rum image list")
        chosen += [image for image in found if image not in chosen]
    for image in chosen:
        require_unused(image, inventory.usage)
    return _removed([image for image in chosen if _remove(image)], emit)


def remove_unused(emit: Emit) -> Outcome:
    """Remove every image that no VM stands on and nobody is downloading. Raises HostError."""
    inventory = take_inventory()
    return _removed([image for image in inventory.images if not image.users and _remove(image, skip_busy=True)], emit)


def require_unused(image: Cached, usage: Usage) -> None:
    """Raise HostError where a VM stands on the image, or may."""
    users = usage.of(image.path)
    if users:
        hint = "destroy what is not needed any more: rum -c FILE destroy"
        raise HostError(f"{image.title} ({image.path.name}) is in use by {' and '.join(map(str, users))}", hint=hint)
    for vm in usage.unknown:
        if image.whole:
            raise HostError(f"{image.title} may be in use: {vm.problem}", hint=vm.hint)


def _remove(image: Cached, *, skip_busy: bool = False) -> bool:
    """Whether it was removed. Raises HostError."""
    try:
        with image_lock_if_free(image.path) as holder:
            if holder is None:
                # Once more, now that no 'rum up' can come between: one that finds the file holds its lock meanwhile.
                require_unused(image, find_usage())
                for path in (image.path, origin_path(image.path)):
                    path.unlink(missing_ok=True)
                discard(image.path)
                drop_lock(image.path)
                return True
    except OSError as exc:
        raise HostError(f"{image.path} cannot be removed: {exc.strerror}") from exc
    if skip_busy:
        return False
    hint = f"wait until it is done, or end it: kill {holder}"
    raise HostError(f"{image.title} is being downloaded by the rum process {holder}", hint=hint)


def _removed(images: Sequence[Cached], emit: Emit) -> Outcome:
    for image in images:
        emit(Notice(f"removed {image.title} ({image.path.name})"))
    size = show_size(sum(image.size for image in images))
    return Outcome(f"{counted(len(images), 'file')} removed, {size}" if images else "there is nothing to remove")
