"""What the machine is given: its checkout, its environment, its job, and the disk that they are on."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from e2e.images import host
from e2e.nested import environment, work_disk
from e2e.nested.errors import NestedError


def git(directory: Path, *arguments: str) -> None:
    settings = ("-c", "user.name=a", "-c", "user.email=a@b.invalid")
    subprocess.run(["git", "-C", str(directory), *settings, *arguments], check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    made = tmp_path / "checkout"
    (made / "sub").mkdir(parents=True)
    (made / ".gitignore").write_text("ignored\n")
    (made / "committed").write_text("as committed")
    (made / "removed").write_text("")
    (made / "sub" / "program").write_text("#!/bin/sh\n")
    (made / "sub" / "program").chmod(0o755)
    git(made, "init", "--quiet")
    git(made, "add", "--all")
    git(made, "commit", "--quiet", "--message=all")
    (made / "committed").write_text("as edited")
    (made / "new").write_text("")
    (made / "ignored").write_text("")
    (made / "removed").unlink()
    return made


def test_the_checkout_goes_in_as_it_is_and_without_what_git_ignores(checkout: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    work_disk.copy_checkout(checkout, target)
    files = {path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file()}
    assert files == {".gitignore", "committed", "new", "sub/program"}
    assert (target / "committed").read_text() == "as edited"
    assert stat.S_IMODE((target / "sub" / "program").stat().st_mode) & stat.S_IXUSR


def test_what_is_no_checkout_is_named(tmp_path: Path) -> None:
    with pytest.raises(NestedError, match=f"{tmp_path} is no checkout of git"):
        work_disk.copy_checkout(tmp_path, tmp_path / "target")


def test_the_job_ends_as_pytest_does_and_its_arguments_arrive(tmp_path: Path) -> None:
    text = work_disk.job(["-k", "one and not two", "e2e"])
    assert "'one and not two' e2e\n" in text
    # Played where pytest is a program that prints its arguments and fails.
    (tmp_path / "env/bin").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    (tmp_path / "env/bin/python").write_text('#!/bin/sh\nfor each; do echo "<$each>"; done\nexit 5\n')
    (tmp_path / "env/bin/python").chmod(0o755)
    played = text.replace("/work", str(tmp_path))
    done = subprocess.run(
        ["sh", "-c", played], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert "<--require>\n<kvm,vhost-vsock>\n" in done.stdout
    assert "<-k>\n<one and not two>\n<e2e>\n" in done.stdout


def test_the_environment_has_our_versions_and_nothing_that_the_machine_has_itself() -> None:
    installed = [
        ("Pygments", "2.1"),
        ("typing_extensions", "4"),
        ("libvirt-python", "12"),
        ("rum-vm", "0"),
        ("pip", "1"),
    ]
    assert environment.pins(installed) == ["pygments==2.1", "typing-extensions==4"]


def test_a_disk_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(NestedError, match=r"The work disk .*/missing/disk cannot be made: .*"):
        work_disk.make_filesystem(tmp_path / "tree", tmp_path / "missing" / "disk")


def test_the_disk_has_the_tree_and_its_root_is_the_users(tmp_path: Path) -> None:
    tree, disk = tmp_path / "tree", tmp_path / "disk"
    tree.mkdir()
    (tree / "job").write_text("#!/bin/sh\n")
    (tree / "job").chmod(0o755)
    work_disk.make_filesystem(tree, disk)
    assert debugfs(disk, "cat /job") == "#!/bin/sh\n"
    assert "User:  1000   Group:  1000" in debugfs(disk, "stat /")
    assert "Mode:  0755" in debugfs(disk, "stat /job")


def debugfs(disk: Path, request: str) -> str:
    done = subprocess.run(
        ["debugfs", "-R", request, disk], capture_output=True, text=True, env=host.environment(), check=True
    )
    return done.stdout
