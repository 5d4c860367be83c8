"""The serial console of what `rum init` writes: a login prompt."""

from __future__ import annotations

from contextlib import closing

from e2e.project import Project


def test_what_init_writes_is_valid_and_not_written_over(vm: Project) -> None:
    before = (vm.directory / "rum.toml").read_text()
    assert "is valid" in vm.rum("config", "check").stdout
    assert (vm.rum("init").exit, (vm.directory / "rum.toml").read_text()) == (2, before)


def test_it_boots_to_a_login_prompt(vm: Project) -> None:
    vm.wait_for_console("login: ", within_s=120)
    with closing(vm.open_console()) as console:
        console.send(b"\n")
        console.expect(b"login: ")
    vm.guest("test ! -e /etc/systemd/system/serial-getty@ttyS0.service.d")
