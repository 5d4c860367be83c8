"""The image cache: the key follows every input, one builder at a time, nothing half-written under a final name."""

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from e2e.images import cache
from e2e.images.errors import ImageError
from e2e.images.recipes import RECIPES, Recipe

RECIPE = Recipe(name="tiny", suite="bookworm", packages=("init",), files={"etc/hostname": "a\n"}, links={})

OTHER_RECIPES = [
    pytest.param(replace(RECIPE, name="other"), id="name"),
    pytest.param(replace(RECIPE, suite="trixie"), id="suite"),
    pytest.param(replace(RECIPE, packages=("init", "less")), id="one-more-package"),
    pytest.param(replace(RECIPE, files={"etc/hostname": "b\n"}), id="content-of-a-file"),
    pytest.param(replace(RECIPE, links={"etc/resolv.conf": "/run/resolv.conf"}), id="a-link"),
    pytest.param(replace(RECIPE, units=()), id="units"),
    pytest.param(replace(RECIPE, removed=("etc/ssh/ssh_host_*",)), id="removed"),
    pytest.param(replace(RECIPE, absent=("usr/bin/python3",)), id="absent"),
    pytest.param(replace(RECIPE, pockets=("security",)), id="pockets"),
]

# Says so when it has the lock, then keeps it until it is killed.
HOLDER = """
import sys
from pathlib import Path
from e2e.images import cache
with cache.locked(Path(sys.argv[1]), lambda: None):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "build.py"
    path.write_text("print(1)\n")
    return path


def test_key_is_the_same_for_the_same_inputs(source: Path) -> None:
    equal = replace(RECIPE, files=dict(RECIPE.files))

    assert cache.key(RECIPE, [source], "amd64") == cache.key(equal, [source], "amd64")


def test_key_does_not_depend_on_where_the_checkout_is(source: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / source.name
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(source.read_bytes())

    assert cache.key(RECIPE, [source], "amd64") == cache.key(RECIPE, [elsewhere], "amd64")


@pytest.mark.parametrize("other", OTHER_RECIPES)
def test_key_follows_the_recipe(source: Path, other: Recipe) -> None:
    assert cache.key(other, [source], "amd64") != cache.key(RECIPE, [source], "amd64")


def test_key_follows_the_code_and_the_architecture(source: Path) -> None:
    before = cache.key(RECIPE, [source], "amd64")
    other_architecture = cache.key(RECIPE, [source], "arm64")
    source.write_text("print(2)\n")

    assert len({before, other_architecture, cache.key(RECIPE, [source], "amd64")}) == 3


def test_key_tells_files_apart_whose_contents_only_together_are_equal(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("xy")
    second.write_text("z")
    before = cache.key(RECIPE, [first, second], "amd64")
    first.write_text("x")
    second.write_text("yz")

    assert cache.key(RECIPE, [first, second], "amd64") != before


def test_every_image_has_a_key_of_its_own(source: Path) -> None:
    assert len({cache.key(recipe, [source], "amd64") for recipe in RECIPES.values()}) == len(RECIPES)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({"RUM_E2E_IMAGES": "/images"}, "/images", id="override"),
        pytest.param({"RUM_E2E_IMAGES": "/images", "XDG_CACHE_HOME": "/c"}, "/images", id="override-wins"),
        pytest.param({"XDG_CACHE_HOME": "/c"}, "/c/rum/e2e-images", id="xdg"),
        pytest.param({"HOME": "/h"}, "/h/.cache/rum/e2e-images", id="home"),
        pytest.param(
            {"HOME": "/h", "XDG_CACHE_HOME": "", "RUM_E2E_IMAGES": ""}, "/h/.cache/rum/e2e-images", id="empty"
        ),
    ],
)
def test_directory(environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUM_E2E_IMAGES", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert cache.directory() == Path(expected)


def test_lock_is_held_inside_and_free_afterwards(tmp_path: Path) -> None:
    lock = tmp_path / "cache" / ".lock"
    with cache.locked(lock, pytest.fail), lock.open() as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)

    with cache.locked(lock, pytest.fail):
        pass


def test_a_second_builder_says_that_it_waits_and_goes_on_when_the_first_is_killed(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"

        with cache.locked(lock, lambda: os.kill(holder.pid, signal.SIGKILL)):
            pass

    assert holder.returncode == -signal.SIGKILL


def test_a_cache_that_cannot_be_created_is_one_clear_sentence(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()

    with (
        pytest.raises(ImageError, match=r"^Cannot write to the image cache .*RUM_E2E_IMAGES"),
        cache.locked(in_the_way / "cache" / ".lock", pytest.fail),
    ):
        pass


def test_publish_replaces_what_was_there_whole(tmp_path: Path) -> None:
    finished, final = tmp_path / ".build.tmp", tmp_path / "image.qcow2"
    finished.write_bytes(b"new")
    final.write_bytes(b"old")

    cache.publish(finished, final)

    assert final.read_bytes() == b"new"
    assert not finished.exists()


def test_content_is_on_the_disk_before_the_final_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished, final = tmp_path / ".build.tmp", tmp_path / "image.qcow2"
    finished.write_bytes(b"new")
    order: list[tuple[bool, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append((finished.exists(), final.exists())))

    cache.publish(finished, final)

    assert order == [(True, False), (False, True)]


# The build itself takes minutes: it waits for a word instead.
WORKER = """
import sys
from e2e.images import build, cache, host
from e2e.images.recipes import RECIPES
def built(recipe, tools, final):
    print("building", flush=True)
    sys.stdin.readline()
    finished = final.with_suffix(".tmp")
    finished.write_text("image")
    cache.publish(finished, final)
build._build, host.check_tools, host.root_prefix = built, lambda: None, lambda: ()
print(build.image(RECIPES["debian-12"]), flush=True)
"""

WORKERS = 4


def test_workers_that_ask_at_once_share_one_build(tmp_path: Path) -> None:
    environment = {**os.environ, "RUM_E2E_IMAGES": str(tmp_path)}
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
            for _ in range(WORKERS)
        ]
        first_words = [worker.stdout.readline() for worker in workers if worker.stdout]
        (builder,) = [worker for worker, word in zip(workers, first_words, strict=True) if word == "building\n"]
        assert sum("Waiting for another build of debian-12" in word for word in first_words) == WORKERS - 1
        assert builder.stdin is not None
        builder.stdin.write("go on\n")
        builder.stdin.flush()
        answers = [worker.communicate(timeout=60)[0].strip() for worker in workers]
    (image,) = set(answers)
    assert Path(image).read_text() == "image"
