"""The agent's command line."""

from __future__ import annotations

import pytest

from rum.agent.settings import Settings, parse_arguments


def test_without_options_it_is_the_guest_s_own_agent() -> None:
    assert parse_arguments([]) == Settings()


def test_every_path_lies_below_the_root() -> None:
    settings = parse_arguments(["--root", "/srv/x", "--listen", "unix:/s", "--vm-id", "v"])
    assert settings == Settings("unix:/s", "/srv/x", "/srv/x/etc/rum/key", "v")
    assert settings.sentinel == "/srv/x/var/lib/rum/.system-provisioned"


def test_the_key_may_lie_elsewhere() -> None:
    assert parse_arguments(["--root", "/srv/x", "--key", "/k"]).key_file == "/k"


@pytest.mark.parametrize("argv", [["--root"], ["--colour", "red"], ["/srv/x"], ["--vm-id", "v", "more"]])
def test_a_wrong_command_line_is_answered_with_the_right_one(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(argv)
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith("usage: rum-agent [--listen vsock:PORT|unix:PATH]")


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse_arguments(["--help"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("usage: rum-agent [--listen")
