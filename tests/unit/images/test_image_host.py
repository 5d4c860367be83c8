"""What a build asks of its host, and the one sentence there is when it does not get it."""

import os
import platform
import stat
from pathlib import Path

import pytest

from e2e.images import host
from e2e.images.errors import UnfitHostError


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An otherwise empty PATH, on a host of the right architecture that has the keyring."""
    monkeypatch.setattr(host, "PATH", str(tmp_path))
    monkeypatch.setattr(host, "KEYRING", __file__)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    return tmp_path


def install(directory: Path, *names: str) -> None:
    for name in names:
        (directory / name).write_text("#!/bin/sh\nexit 0\n")
        (directory / name).chmod(stat.S_IRWXU)


def test_all_missing_packages_are_named_at_once(tools: Path) -> None:
    install(tools, "mmdebstrap", "unshare", "setpriv", "tar", "newuidmap")

    with pytest.raises(UnfitHostError, match=r"apt-get install e2fsprogs fdisk qemu-utils$"):
        host.check_tools()


def test_an_ordinary_user_needs_uidmap_too(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    install(tools, "mmdebstrap", "unshare", "setpriv", "tar", "sfdisk", "mke2fs", "qemu-img")

    with pytest.raises(UnfitHostError, match=r"apt-get install uidmap$"):
        host.check_tools()


def test_root_does_not_need_uidmap(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    install(tools, "mmdebstrap", "unshare", "setpriv", "tar", "sfdisk", "mke2fs", "qemu-img")

    host.check_tools()


def test_the_archive_keyring_is_needed(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "KEYRING", str(tools / "no-keyring.gpg"))
    install(tools, "mmdebstrap", "unshare", "setpriv", "tar", "sfdisk", "mke2fs", "qemu-img", "newuidmap")

    with pytest.raises(UnfitHostError, match=r"apt-get install debian-archive-keyring$"):
        host.check_tools()


def test_another_architecture_is_refused(tools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")

    with pytest.raises(UnfitHostError, match=r"only be built on x86_64, and this is aarch64\.$"):
        host.check_tools()


def test_exit_code_of_an_unfit_host_is_3() -> None:
    assert UnfitHostError.exit_code == 3


def test_root_does_without_namespaces_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "_SANDBOX", ("false",))

    assert host.root_prefix() == ()


def test_a_user_without_subordinate_ids_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(host, "_SANDBOX", ("false",))

    with pytest.raises(UnfitHostError, match=r"^User 1000 cannot .*usermod --add-subuids .*sysctl "):
        host.root_prefix()


def test_tools_of_administrators_are_on_the_path_of_a_build() -> None:
    assert host.environment()["PATH"].endswith(":/usr/sbin:/sbin")


def test_environment_of_the_tools_is_in_a_language_we_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")

    assert host.environment(http_proxy="http://proxy")["LC_ALL"] == "C.UTF-8"
