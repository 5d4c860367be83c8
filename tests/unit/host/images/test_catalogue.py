"""The catalogue: what each entry must be, and that docs/images.md lists it as it is."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from rum.host.errors import HostError
from rum.host.images.catalogue import CATALOGUE, CatalogueImage, catalogue_image, needs_largest_cpu
from rum.host.vm.architecture import ARCHITECTURES, host_architecture

DOCS = Path(__file__).resolve().parents[4] / "docs"
IMAGES = [(name, arch, image) for name, entry in CATALOGUE.items() for arch, image in entry.items()]


@pytest.mark.parametrize(("name", "arch", "image"), IMAGES, ids=[f"{name} {arch}" for name, arch, _ in IMAGES])
def test_an_entry(name: str, arch: str, image: CatalogueImage) -> None:
    for directory in image.directories:
        assert urlsplit(directory).scheme == "https"
        assert not directory.endswith("/")
    assert arch in image.url or {"x86_64": "amd64", "aarch64": "arm64"}[arch] in image.url
    assert name.rpartition("-")[2] in image.url or name == "archlinux", "the release"
    assert image.file.endswith((".qcow2", ".img"))
    assert image.checksums.startswith(image.file) or "SUM" in image.checksums
    assert set(image.firmware) <= set(ARCHITECTURES[arch].firmware)
    assert image.firmware[0] == ARCHITECTURES[arch].firmware[0], "an image boots with the default"


def test_an_image_that_is_not_published_for_this_architecture_is_one_sentence() -> None:
    with pytest.raises(HostError) as caught:
        catalogue_image("archlinux", ARCHITECTURES["aarch64"])
    assert str(caught.value) == "archlinux is published for x86_64 only, and a VM on this host is aarch64"
    assert caught.value.hint


def test_what_needs_a_cpu_of_x86_64_v3() -> None:
    needing = [name for name in CATALOGUE if needs_largest_cpu(name, ARCHITECTURES["x86_64"])]
    assert needing == ["almalinux-10", "centos-stream-10", "rocky-10"]
    assert not needs_largest_cpu("mine.qcow2", ARCHITECTURES["x86_64"])


def test_an_architecture_that_rum_does_not_know_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(HostError, match=r"^rum runs VMs on x86_64 and aarch64, and this host is riscv64$"):
        host_architecture()


def test_the_documentation_lists_the_catalogue() -> None:
    """Where this fails, it prints the table that docs/images.md should have."""
    rows = [
        f"| `{name}` | {', '.join(entry)} | {', '.join(image.firmware)} "
        f"| [{urlsplit(image.url).hostname}]({image.url}) | {image.checksums.replace(image.file, '*file*')} |"
        for name, entry in CATALOGUE.items()
        for image in (entry["x86_64"],)
    ]
    head = ["| name | for | x86_64 boots with | x86_64 image | its checksums |", "|---|---|---|---|---|"]
    table = "\n".join([*head, *rows])
    assert table in (DOCS / "images.md").read_text(encoding="utf-8"), f"\n{table}\n"
