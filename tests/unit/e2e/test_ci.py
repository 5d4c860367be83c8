"""The steps of action.yml, with the installed `rum`, as a runner would take them; only the VM is missing."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from e2e import ci
from rum.host import CATALOGUE
from tests.unit.host.images.image_server import ImageServer, serving

CHECKOUT = Path(__file__).resolve().parents[3]
FILE = CATALOGUE["debian-12"][platform.machine()].file


@pytest.fixture(autouse=True)
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace and a home of its own; what the steps output lies beside them."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "RUM_IMAGE_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("GITHUB_OUTPUT", "GITHUB_PATH", "GITHUB_WORKSPACE", "XDG_CACHE_HOME", "XDG_STATE_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (tmp_path / "GITHUB_WORKSPACE").mkdir()
    monkeypatch.chdir(CHECKOUT)
    return tmp_path


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[ImageServer]:
    """A publisher of debian-12."""
    with serving() as server:
        monkeypatch.setenv("RUM_IMAGE_MIRROR", server.base)
        publish(server, b"first")
        yield server


def publish(server: ImageServer, word: bytes) -> None:
    """Have another build of the image, a small one."""
    content = bytearray(word.ljust(1 << 20, b"\0"))
    content[510:512] = b"\x55\xaa"
    server.files[FILE] = bytes(content)
    server.files["SHA512SUMS"] = f"{hashlib.sha512(content).hexdigest()}  {FILE}\n".encode()


def outputs(runner: Path) -> dict[str, str]:
    """What the steps have output so far; a later one counts."""
    lines = (runner / "GITHUB_OUTPUT").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


def configure(runner: Path, text: str) -> None:
    (runner / "GITHUB_WORKSPACE" / "rum.toml").write_text(text)


class TestImage:
    def test_a_rum_toml_and_the_name_in_it_are_the_same_image(self, runner: Path) -> None:
        configure(runner, '[image]\nbase = "debian-12"\n')
        assert ci.main(["image", "rum.toml"]) == 0
        of_file = outputs(runner)
        assert ci.main(["image", "debian-12"]) == 0
        assert outputs(runner) == of_file
        assert of_file["directory"] == str(runner / "XDG_CACHE_HOME/rum/images")
        assert of_file["prefix"].startswith("rum-image-")

    def test_two_images_are_told_apart(self, runner: Path) -> None:
        prefixes = set()
        for name in ("debian-12", "debian-13", "https://example.org/debian-12.qcow2"):
            assert ci.main(["image", name]) == 0
            prefixes.add(outputs(runner)["prefix"])
        assert len(prefixes) == 3

    def test_a_file_of_the_project_is_not_cached(self, runner: Path) -> None:
        configure(runner, '[image]\nbase = "images/mine.qcow2"\n')
        (runner / "GITHUB_WORKSPACE/images").mkdir()
        (runner / "GITHUB_WORKSPACE/images/mine.qcow2").write_bytes(bytes(1024))
        assert ci.main(["image", "rum.toml"]) == 0
        assert outputs(runner) == {"directory": "", "prefix": ""}

    def test_what_is_wrong_with_rum_toml_is_said_by_rum(self, runner: Path, capfd: pytest.CaptureFixture[str]) -> None:
        configure(runner, '[image]\nbse = "debian-12"\n')
        assert ci.main(["image", "rum.toml"]) == 2
        assert "image.bse" in capfd.readouterr().err


class TestPull:
    def test_the_key_is_of_the_checksum(self, runner: Path, mirror: ImageServer) -> None:
        assert ci.main(["image", "debian-12"]) == 0
        assert ci.main(["pull", "debian-12"]) == 0
        found = outputs(runner)
        assert found["key"] == found["prefix"] + hashlib.sha512(mirror.files[FILE]).hexdigest()[:16]

    def test_a_restored_image_that_is_still_published_is_not_downloaded_again(
        self, runner: Path, mirror: ImageServer
    ) -> None:
        assert ci.main(["pull", "debian-12"]) == 0
        key = outputs(runner)["key"]
        mirror.requests.clear()
        assert ci.main(["pull", "debian-12"]) == 0
        assert outputs(runner)["key"] == key
        assert f"/{FILE}" not in {path for path, _ in mirror.requests}

    def test_a_new_one_replaces_it(self, runner: Path, mirror: ImageServer) -> None:
        assert ci.main(["pull", "debian-12"]) == 0
        key = outputs(runner)["key"]
        publish(mirror, b"second")
        assert ci.main(["pull", "debian-12"]) == 0
        assert outputs(runner)["key"] != key
        (kept,) = (runner / "XDG_CACHE_HOME/rum/images").glob("*.qcow2")
        assert kept.read_bytes() == mirror.files[FILE]

    def test_a_url_is_verified_as_rum_toml_says(self, runner: Path, mirror: ImageServer) -> None:
        base = f'[image]\nbase = "{mirror.base}/{FILE}"\n'
        configure(runner, f'{base}sha256 = "{"0" * 64}"\n')
        assert ci.main(["pull", "rum.toml"]) == 3
        configure(runner, f'{base}sha256 = "{hashlib.sha256(mirror.files[FILE]).hexdigest()}"\n')
        assert ci.main(["pull", "rum.toml"]) == 0
        assert outputs(runner)["key"].endswith(hashlib.sha256(mirror.files[FILE]).hexdigest()[:16])


def test_the_path_gets_rum_and_nothing_else(runner: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = runner / "venv/bin/rum"
    program.parent.mkdir(parents=True)
    program.symlink_to(ci.RUM)
    monkeypatch.setattr(ci, "RUM", program)
    for _ in range(2):
        assert ci.main(["offer"]) == 0
    directory = Path((runner / "GITHUB_PATH").read_text().splitlines()[-1])
    assert [path.name for path in directory.iterdir()] == ["rum"]
    assert outputs(runner)["rum"] == str(directory / "rum")
    assert subprocess.run([directory / "rum", "version"], stdout=subprocess.PIPE, check=True).stdout


def test_up_fails_as_rum_does(runner: Path, capfd: pytest.CaptureFixture[str]) -> None:
    configure(runner, '[image]\nbase = "no-such-image"\n')
    status = subprocess.run([ci.RUM, "-c", ci.located("rum.toml"), "up"], capture_output=True, check=False).returncode
    assert ci.main(["up", "rum.toml"]) == status != 0
    assert "no-such-image" in capfd.readouterr().err


def test_a_failure_shows_the_console_and_keeps_it(runner: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vm = runner / "XDG_STATE_HOME/rum/vms/app-00000001"
    vm.mkdir(parents=True)
    (vm / "console.log").write_bytes(b"\xff" * 9000 + b"\n::error::no command\nKernel panic\n")
    (vm / "key").write_text("secret")
    assert ci.main(["evidence", "rum.toml", str(runner / "kept")]) == 0
    shown = capfd.readouterr().out
    beginning, _, rest = shown.partition("::group::console of app-00000001\n::stop-commands::")
    token, _, text = rest.partition("\n")
    assert text.partition(f"\n::{token}::\n::endgroup::\n")[0].endswith("\n::error::no command\nKernel panic\n")
    assert (beginning, len(token), token in text.partition(f"\n::{token}::")[0]) == ("", 32, False)
    assert [path.name for path in (runner / "kept/app-00000001").iterdir()] == ["console.log"]
    assert outputs(runner) == {"kept": "1"}


class TestAction:
    """action.yml takes the steps that there are, and no step takes an input for code."""

    @pytest.fixture
    def steps(self) -> list[dict[str, str]]:
        steps: list[dict[str, str]] = yaml.safe_load((CHECKOUT / "action.yml").read_text())["runs"]["steps"]
        return steps

    def test_the_commands_exist(self, steps: list[dict[str, str]]) -> None:
        used = [words.split()[0] for step in steps for words in step.get("run", "").split("-m e2e.ci ")[1:]]
        assert used == ["offer", "image", "pull", "up", "evidence"]

    def test_no_expression_is_part_of_a_script(self, steps: list[dict[str, str]]) -> None:
        assert [step["run"] for step in steps if "${{" in step.get("run", "")] == []
