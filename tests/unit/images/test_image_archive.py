"""Which mirror a build uses, out of what the host's own apt is configured with."""

import pytest

from e2e.images import archive
from e2e.images.archive import AptSettings, Mirror, mirror_of, source_lines

DEFAULT = Mirror("http://deb.debian.org/debian", "http://deb.debian.org/debian-security")


@pytest.mark.parametrize(
    ("uris", "expected"),
    [
        pytest.param([], DEFAULT, id="nothing-configured"),
        pytest.param(["http://archive.example/ubuntu/"], DEFAULT, id="not-debian"),
        pytest.param(
            ["http://m.example/debian/", "http://m.example/debian-security/"],
            Mirror("http://m.example/debian", "http://m.example/debian-security"),
            id="both",
        ),
        pytest.param(["http://m.example/debian"], Mirror("http://m.example/debian", None), id="no-security"),
        pytest.param(["http://m.example/debian-security/"], DEFAULT, id="security-alone"),
        pytest.param(
            ["https://vendor.example/stable/", "http://a.example/debian/", "http://b.example/debian/"],
            Mirror("http://a.example/debian", None),
            id="the-first-one",
        ),
    ],
)
def test_mirror_of(uris: list[str], expected: Mirror) -> None:
    assert mirror_of(uris) == expected


def test_source_lines_of_a_stable_suite() -> None:
    assert source_lines(DEFAULT, "bookworm", ("updates", "security")) == [
        "deb http://deb.debian.org/debian bookworm main",
        "deb http://deb.debian.org/debian bookworm-updates main",
        "deb http://deb.debian.org/debian-security bookworm-security main",
    ]


def test_source_lines_of_a_suite_without_pockets() -> None:
    assert source_lines(DEFAULT, "sid", ()) == ["deb http://deb.debian.org/debian sid main"]


def test_no_security_from_a_mirror_that_has_none() -> None:
    lines = source_lines(Mirror("http://m.example/debian", None), "bookworm", ("security",))

    assert lines == ["deb http://m.example/debian bookworm main"]


@pytest.mark.parametrize(
    ("shell", "expected"),
    [
        pytest.param("", AptSettings(), id="nothing-configured"),
        pytest.param("PROXY='http://p.example:3142'\n", AptSettings("http://p.example:3142"), id="proxy"),
        pytest.param("VALID='false'\n", AptSettings("", check_valid_until=False), id="old-index-allowed"),
        pytest.param("PROXY='http://p'\nVALID='true'\n", AptSettings("http://p"), id="both"),
    ],
)
def test_host_settings(shell: str, expected: AptSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_output", lambda *argv: shell)

    assert archive.host_settings() == expected
