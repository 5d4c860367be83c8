"""The commands of `rum image`: they need no rum.toml."""

from __future__ import annotations

import click

from rum.host.cli.complete import DOWNLOADED_IMAGES, KNOWN_IMAGES
from rum.host.cli.help import command, group
from rum.host.cli.options import Options, global_options
from rum.host.outcome import Outcome
from rum.host.show.render import Ending


@group(examples=["rum image list", "rum image pull debian-12"])
@global_options
def image() -> None:
    """See, download and remove images."""


@command("list", parent=image, examples=["rum image list"])
@global_options
@click.pass_obj
def list_(options: Options) -> int:
    """Show the images that rum knows by name, and what is downloaded."""
    from rum.host.events import Notice
    from rum.host.images import commands as story
    from rum.host.images.inventory import inventory_fields, take_inventory

    inventory = take_inventory()
    if options.output != "json":
        for vm in inventory.usage.unknown:
            options.renderer.emit(Notice(f"{vm.problem}; it may stand on any image", warning=True))
    options.renderer.show(inventory_fields(inventory), story.inventory_lines(inventory))
    return 0


@command(parent=image, examples=["rum image pull debian-12"])
@global_options
@click.option("--sha256", metavar="HEX", help="What the file must be.")
@click.option("--sha512", metavar="HEX", help="What the file must be.")
@click.argument("base", metavar="NAME|URL", shell_complete=KNOWN_IMAGES)
@click.pass_obj
def pull(options: Options, base: str, sha256: str | None, sha512: str | None) -> int:
    """Download an image, as `rum up` would."""
    from rum.host.config.model import ImageConfig
    from rum.host.images import commands as story

    sums = {"sha256": checked_digest("--sha256", sha256, 64), "sha512": checked_digest("--sha512", sha512, 128)}
    return end(options, story.pull(ImageConfig(base, **sums), options.renderer.emit))


@command(parent=image, examples=["rum image remove debian-11", "rum image remove --unused"])
@global_options
@click.option("--unused", is_flag=True, help="Remove every image that no VM stands on.")
@click.argument("targets", nargs=-1, metavar="[NAME|URL|FILE]...", shell_complete=DOWNLOADED_IMAGES)
@click.pass_obj
def remove(options: Options, targets: tuple[str, ...], unused: bool) -> int:
    """Remove downloaded images; one that a VM stands on is not removed."""
    from rum.host.images import commands as story

    if bool(targets) == unused:
        raise click.UsageError("name the images to remove, or say --unused")
    emit = options.renderer.emit
    return end(options, story.remove_unused(emit) if unused else story.remove(targets, emit))


def checked_digest(option: str, value: str | None, digits: int) -> str | None:
    """A checksum as rum.toml has it. Raises UsageError."""
    if value is None:
        return None
    if len(value) != digits or not set(value.lower()) <= set("0123456789abcdef"):
        raise click.UsageError(f"{option} takes {digits} hexadecimal digits, not {value!r}")
    return value.lower()


def end(options: Options, outcome: Outcome) -> int:
    """Show how the command ended; the exit status."""
    options.renderer.end(Ending.of_outcome(options.command, outcome))
    return outcome.exit
