"""A build seen from outside: found at once, built once, nothing left of one that failed. The tools are stand-ins."""

import io
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.images import __main__ as cli
from e2e.images import archive, build, disk, host
from e2e.images.errors import ImageError
from e2e.images.recipes import RECIPES, Recipe

RECIPE = RECIPES["debian-12"]

# Makes of the recipe what the bootloader needs, and notes that it ran.
MMDEBSTRAP = """#!/bin/sh
echo run >> "$RUNS"
while [ $# -gt 0 ]; do case "$1" in --*) ;; bookworm) tree=$2; break;; esac; shift; done
mkdir -p "$tree/boot/grub/i386-pc" "$tree/usr/lib/shim" "$tree/usr/lib/grub/x86_64-efi-signed"
{ head -c 510 /dev/zero; printf '\\125\\252'; } > "$tree/boot/grub/i386-pc/boot.img"
head -c 2000 /dev/zero > "$tree/boot/grub/i386-pc/core.img"
touch "$tree/usr/lib/shim/shimx64.efi.signed" "$tree/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
[ -z "$BREAK" ] || { echo "E: the mirror is on fire"; exit 25; }
"""
CONVERT = """#!/bin/sh
for last; do :; done
echo image > "$last"
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache directory, with tools on the PATH that pretend."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, script in {"mmdebstrap": MMDEBSTRAP, "qemu-img": CONVERT, "sfdisk": "#!/bin/sh\n"}.items():
        (tools / name).write_text(script)
        (tools / name).chmod(stat.S_IRWXU)
    (tools / "mke2fs").symlink_to("sfdisk")
    monkeypatch.setattr(host, "PATH", f"{tools}:{os.defpath}")
    monkeypatch.setattr(archive, "host_mirror", archive.Mirror)
    monkeypatch.setattr(archive, "host_settings", archive.AptSettings)
    monkeypatch.setattr(host, "check_tools", lambda: None)
    monkeypatch.setattr(host, "root_prefix", lambda: ())
    monkeypatch.setenv("RUM_E2E_IMAGES", str(tmp_path / "cache"))
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("BREAK", "")
    return tmp_path / "cache"


def visible(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_built_once_then_found_without_any_tool(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    built = build.image(RECIPE)
    monkeypatch.setattr(host, "check_tools", pytest.fail)

    assert build.image(RECIPE) == built
    assert built.read_text() == "image\n"
    assert (cache.parent / "runs").read_text() == "run\n"


def test_nothing_but_the_image_is_left_in_the_cache(cache: Path) -> None:
    built = build.image(RECIPE)

    assert visible(cache) == [".debian-12.lock", built.name]


def test_images_of_other_keys_stay(cache: Path) -> None:
    other = build.image(replace(RECIPE, packages=("init",)))

    assert build.image(RECIPE) != other
    assert other.exists()


def test_a_failed_build_leaves_its_log_and_no_image(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BREAK", "yes")

    with pytest.raises(ImageError, match=r"^mmdebstrap failed \(status 25\): E: the mirror is on fire; .*\.log\.$"):
        build.image(RECIPE)

    assert [name for name in visible(cache) if not name.startswith(".")] == [
        name for name in visible(cache) if name.endswith(".log")
    ]


def test_a_build_succeeds_after_one_that_was_killed(cache: Path) -> None:
    left_behind = cache / ".debian-12.build" / "tree" / "etc"
    left_behind.mkdir(parents=True)
    (left_behind / "half").touch()

    assert build.image(RECIPE).exists()
    assert not left_behind.exists()


def test_a_tree_without_grub_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "install_bios_boot", _not_grub)

    with pytest.raises(ImageError, match=r"^The GRUB that was installed cannot be used: 3 bytes\.$"):
        build.image(RECIPE)


def _not_grub(*args: object) -> None:
    raise ValueError("3 bytes")


def test_a_full_disk_is_one_clear_sentence(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "create", _full)

    with pytest.raises(ImageError, match=r"^Building debian-12 in .*/cache failed: .*No space left on device"):
        build.image(RECIPE)


def _full(path: Path) -> None:
    raise OSError(28, "No space left on device", str(path))


@pytest.fixture(params=sorted(RECIPES))
def additions(request: pytest.FixtureRequest) -> Iterator[tarfile.TarFile]:
    with tarfile.open(fileobj=io.BytesIO(build.additions(RECIPES[request.param]))) as tar:
        yield tar


def test_additions_are_roots_and_below_the_root(additions: tarfile.TarFile) -> None:
    members = additions.getmembers()

    assert {(member.uid, member.gid) for member in members} == {(0, 0)}
    assert {member.mode for member in members if member.isfile()} == {0o644}
    assert not [member.name for member in members if member.name.startswith("/") or ".." in member.name]


def test_guest_names_the_official_archive_whatever_mirror_it_was_built_from(additions: tarfile.TarFile) -> None:
    sources = additions.extractfile("etc/apt/sources.list")
    assert sources is not None

    assert {line.split()[1] for line in sources.read().decode().splitlines()} <= {
        "http://deb.debian.org/debian",
        "http://deb.debian.org/debian-security",
    }


def test_no_image_has_ifupdown_beside_networkd() -> None:
    with_ifupdown = {name for name, recipe in RECIPES.items() if {"ifupdown", "isc-dhcp-client"} & set(recipe.packages)}
    with_networkd = {name for name, recipe in RECIPES.items() if "systemd-networkd.service" in recipe.units}

    assert with_ifupdown | with_networkd == RECIPES.keys()
    assert not with_ifupdown & with_networkd


def test_variants_lack_what_they_are_named_after() -> None:
    packages = {name: set(recipe.packages) for name, recipe in RECIPES.items()}

    assert {"cloud-init", "python3", "netplan.io"} <= packages["debian-12"]
    assert {"python3", "netplan.io"} <= packages["debian-12-no-cloud-init"]
    assert "cloud-init" not in packages["debian-12-no-cloud-init"]
    assert not {"cloud-init", "python3", "netplan.io"} & packages["debian-12-no-python"]


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    checkout = Path(build.__file__).parents[2]
    return subprocess.run(
        [sys.executable, "-m", "e2e.images", *argv],
        cwd=checkout,
        env={"PATH": os.defpath, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_last_line_of_output_is_the_path_of_an_image_in_the_cache(cache: Path) -> None:
    built = build.image(RECIPE)

    found = run("build", "debian-12", RUM_E2E_IMAGES=str(cache))

    assert (found.returncode, found.stdout, found.stderr) == (0, f"{built}\n", "")


def test_list_names_what_can_be_built_and_where_the_official_images_are() -> None:
    listed = run("list").stdout

    assert set(RECIPES) <= set(listed.split())
    assert "https://cloud.debian.org/images/cloud/bookworm/latest/debian-12-genericcloud-amd64.qcow2" in listed


def test_an_unknown_image_is_a_usage_error_that_names_the_known_ones() -> None:
    refused = run("build", "windows-95")

    assert refused.returncode == 2
    assert "debian-12-no-python" in refused.stderr


def test_an_unfit_host_is_exit_3_and_no_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "PATH", str(tmp_path))
    monkeypatch.setenv("RUM_E2E_IMAGES", str(tmp_path))

    assert cli.main(["build", "debian-12"]) == 3


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_packages_are_in_order_and_named_once(recipe: Recipe) -> None:
    assert len(set(recipe.packages)) == len(recipe.packages)
