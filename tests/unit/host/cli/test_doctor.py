"""`rum doctor` as a process, on hosts that lack something: it says so, and never fails itself."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from e2e.json_lines import checked
from rum.host import remedies
from rum.host.cli.doctor import subject
from rum.host.cli.options import Options

CHECKOUT = Path(__file__).resolve().parents[4]

TEST_DRIVER = {"LIBVIRT_DEFAULT_URI": "test:///default"}


def doctor(
    cwd: Path, *arguments: str, path: str | None = None, without: Path | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run it; `without`: a directory of modules that take the place of what is installed."""
    modules = [str(CHECKOUT)] if without is None else [str(without), str(CHECKOUT)]
    environment = {**os.environ, **TEST_DRIVER, "PYTHONPATH": os.pathsep.join(modules), **(env or {})}
    environment["XDG_STATE_HOME"], environment["XDG_CACHE_HOME"] = str(cwd / "state"), str(cwd / "cache")
    if path is not None:
        environment["PATH"] = path
    program = [sys.executable, "-m", "rum.host", "doctor", *arguments]
    return subprocess.run(program, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


def findings(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    """The findings by name; every line is of the documented form, and the last one is `done`."""
    lines = [checked(line) for line in done.stdout.splitlines()]
    assert lines[-1]["type"] == "done"
    assert lines[-1]["exit"] == done.returncode
    assert {line["type"] for line in lines[:-1]} == {"check"}
    return {str(line["name"]): dict(line) for line in lines[:-1]}


def test_a_host_without_any_program(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = doctor(tmp_path, "-o", "json", path=str(tmp_path / "bin"))
    found = findings(done)
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert {name for name, finding in found.items() if finding["status"] == "missing"} >= {
        "qemu",
        "qemu-img",
        "ssh-keygen",
    }
    assert found["qemu-img"]["found"] == "there is no qemu-img in PATH"
    assert "install" in found["qemu-img"]["fix"]
    assert (found["ssh"]["status"], found["user-namespaces"]["status"]) == ("optional", "optional")


def test_a_python_without_libvirt(tmp_path: Path) -> None:
    problem = "libvirt.so.0: cannot open shared object file"
    (tmp_path / "libvirt.py").write_text(f"raise ImportError({problem!r})\n")
    done = doctor(tmp_path, "-o", "json", without=tmp_path)
    libvirt = findings(done)["libvirt"]
    assert (done.returncode, libvirt["status"]) == (3, "missing")
    assert libvirt["found"] == f"Python cannot import libvirt: {problem}"
    assert libvirt["fix"] == remedies.install("libvirt")


def test_a_libvirt_that_nobody_serves(tmp_path: Path) -> None:
    done = doctor(tmp_path, "-o", "json", env={"LIBVIRT_DEFAULT_URI": f"qemu+unix:///system?socket={tmp_path}/none"})
    libvirt = findings(done)["libvirt"]
    assert libvirt["status"] == "missing"
    assert "cannot be reached: Failed to connect socket" in libvirt["found"]
    assert libvirt["fix"] == remedies.reach_libvirt("qemu:///system")


def test_a_uri_that_can_be_none(tmp_path: Path) -> None:
    done = doctor(tmp_path, "-o", "json", env={"LIBVIRT_DEFAULT_URI": "qemu:///session\udcff"})
    libvirt = findings(done)["libvirt"]
    assert libvirt["status"] == "missing"
    assert libvirt["found"] == r"LIBVIRT_DEFAULT_URI is no URI of libvirt: 'qemu:///session\udcff'"
    assert libvirt["fix"].startswith("mend it")


def test_people_read_what_to_do_first(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    done = doctor(tmp_path, path=str(tmp_path / "bin"))
    lines = done.stdout.splitlines()
    start = next(index for index, line in enumerate(lines) if re.match(r"MISSING +qemu-img ", line))
    shown = [line.split(maxsplit=words) for line, words in zip(lines[start:], (2, 1, 3), strict=False)]
    assert shown[0][2] == "there is no qemu-img in PATH"
    assert shown[1] == ["why", "it makes the VM's disks"]
    assert shown[2][:3] == ["what", "to", "do"]
    assert shown[2][3] == remedies.install("qemu-img")
    states = [line.split()[0] for line in lines if re.match(r"[a-zA-Z]", line)]
    assert states == sorted(states, key=["MISSING", "slower", "optional", "ok"].index)
    assert "ok" in states
    quiet = doctor(tmp_path, "-q", path=str(tmp_path / "bin")).stdout.splitlines()
    assert quiet == [line for line in lines if not line.startswith("ok")]
    assert re.search(r"^rum: `rum up` cannot work here yet, because of .*qemu-img.* and ", done.stderr, re.MULTILINE)


def test_a_host_that_has_everything(tmp_path: Path) -> None:
    done = doctor(tmp_path, "-o", "json")
    found = findings(done)
    assert {name for name, finding in found.items() if finding["status"] == "missing"} == set()
    assert done.returncode == 0
    assert re.fullmatch(
        r"libvirt \d+\.\d+\.\d+ at test:///default, which answered within \d+\.\d s", found["libvirt"]["found"]
    )
    assert re.match(r"\d+\.\d+", found["qemu"]["found"])
    assert all(finding["fix"] is None for finding in found.values() if finding["status"] == "ok")
    assert "rum.toml" not in found
    assert not (tmp_path / "state").exists()
    assert not (tmp_path / "cache").exists()


@contextlib.contextmanager
def listening() -> Iterator[socket.socket]:
    """A port that somebody has."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


TOML = """
[image]
base = "image.qcow2"
[[mounts]]
source = "{mounted}"
target = "/srv/app"
[[ports]]
host = {port}
guest = 80
"""


def test_what_this_rum_toml_needs(tmp_path: Path) -> None:
    with listening() as taken:
        port = taken.getsockname()[1]
        (tmp_path / "rum.toml").write_text(TOML.format(mounted=tmp_path / "app", port=port))
        (tmp_path / "app").mkdir()
        (tmp_path / "image.qcow2").touch()
        found = findings(doctor(tmp_path, "-o", "json"))
        assert found["rum.toml"]["found"] == str(tmp_path / "rum.toml")
        assert found["image"]["status"] == "ok"
        assert found["ports"]["status"] == "missing"
        assert found["ports"]["found"].startswith(f"port {port} of 127.0.0.1 is taken by ")
        (tmp_path / "image.qcow2").unlink()
    found = findings(doctor(tmp_path, "-o", "json"))
    assert found["ports"]["status"] == "ok"
    assert found["image"]["found"] == f"there is no image file {tmp_path / 'image.qcow2'}"


def test_a_rum_toml_that_is_wrong_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "rum.toml").write_text("[image]\nbas = 1\n")
    done = doctor(tmp_path, "-o", "json")
    finding = findings(done)["rum.toml"]
    assert (done.returncode, finding["status"]) == (3, "missing")
    assert "did you mean base?" in finding["found"]
    trouble = subject(Options(config=str(tmp_path / "none.toml"))).trouble
    assert trouble
    assert trouble.found.startswith("there is no file ")
