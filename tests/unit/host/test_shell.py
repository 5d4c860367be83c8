"""`rum shell` with the real agent, and whatever login shell this user has."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

import pytest

from tests.unit.host.cli.test_commands import command, rum
from tests.unit.host.local_guest import LocalGuest, local_guest
from tests.unit.host.user_terminal import user_terminal


@pytest.fixture(scope="module")
def guest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGuest]:
    with local_guest(tmp_path_factory.mktemp("shell")) as guest:
        yield guest


def test_at_a_terminal_it_has_one(guest: LocalGuest) -> None:
    with user_terminal(command(guest, "shell"), 33, 101) as user:
        user.type(b"stty size; exit 7\r")
        assert user.finish() == 7
        assert b"33 101" in user.shown
        assert user.attributes() == user.before


def test_a_script_may_be_its_input(guest: LocalGuest) -> None:
    script = b'pwd\nprintf "%s|" "$USER" "$HOME" "${DEBIAN_FRONTEND-none}" "${PYTHONUNBUFFERED-none}"\nexit 9\n'
    done = rum(guest, "shell", given=script)
    account = pwd.getpwuid(os.geteuid())
    said = f"{account.pw_dir}\n{account.pw_name}|{account.pw_dir}|none|none|"
    assert (done.returncode, done.stdout.decode()) == (9, said)


def test_a_user_that_the_guest_does_not_have_is_named(guest: LocalGuest) -> None:
    done = rum(guest, "shell", "--user", "nobody-here")
    assert (done.returncode, done.stdout) == (126, b"")
    assert done.stderr == b"rum-agent: there is no user 'nobody-here' in the guest\n"


def test_a_vm_that_is_off_is_rums_failure(guest: LocalGuest) -> None:
    guest.stop()
    guest.running = False
    try:
        done = rum(guest, "shell")
    finally:
        guest.running = True
        guest.start()
    assert (done.returncode, done.stderr) == (125, b"rum: VM demo is stopped\nrum: run `rum up` first\n")
