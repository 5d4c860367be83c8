"""docs/errors.md: every error, its code, its text, its cause and what to do.

Texts, codes and hints are read from the source; causes are written by hand, into the page itself.
`python -m tests.unit.host.test_errors_page` brings the tables up to date: it keeps the causes, leaves those of new
errors empty, and the test fails until somebody has written them.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

import pytest

from e2e.json_lines import checked
from rum.host import errors
from tests.unit.host.error_sites import CHECKOUT, Site, class_codes, family_of, sites

PAGE = CHECKOUT / "docs/errors.md"
TEXT = PAGE.read_text(encoding="utf-8")

BAD_CONFIG = CHECKOUT / "tests/unit/host/config/bad_config"

FAMILIES = {
    "config": errors.ConfigError.exit_code,
    "host": errors.HostError.exit_code,
    "guest": errors.GuestError.exit_code,
    "run": errors.EXIT_SCRIPT_FAILED,
    "internal": errors.RumError.exit_code,
}
"""The tables, by what the command ends with."""

DOCTOR = "`rum doctor` names the command for this distribution"
HEADER = "| code | text | cause | what to do |\n|---|---|---|---|"


@dataclass(frozen=True)
class Row:
    """An error as the page has it: several places may say the same."""

    code: str
    text: str
    cause: str
    remedy: str

    def line(self) -> str:
        cells = (f"`{self.code}`", self.text, self.cause, self.remedy)
        return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |".replace("|  |", "| |")


def cells(line: str) -> list[str]:
    """The cells of a row, bars that belong to a text as they are."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def written(text: str) -> dict[tuple[str, str], Row]:
    """What the page has now, by code and text."""
    rows = [cells(line) for line in text.splitlines() if line.startswith("| `")]
    found = [Row(row[0].strip("`"), row[1], row[2], row[3]) for row in rows if len(row) == 4]
    return {(row.code, row.text): row for row in found}


def rows(family: str, known: dict[tuple[str, str], Row]) -> list[Row]:
    """Every error of a family, with what was written about it by hand."""
    found: dict[tuple[str, str], Row] = {}
    for site in sites():
        if family_of(site) == family:
            key = (code_of(site), site.text)
            old = known.get(key) or known.get(renamed(key, known))
            remedy = hint_of(site) or (old.remedy if old else "")
            found.setdefault(key, Row(*key, old.cause if old else "", remedy))
    return sorted(found.values(), key=lambda row: (row.code, row.text))


def renamed(key: tuple[str, str], known: dict[tuple[str, str], Row]) -> tuple[str, str]:
    """The place of an error that has got another code."""
    return next((other for other in known if other[1] == key[1]), key)


def code_of(site: Site) -> str:
    return site.code or class_codes()[site.kind]


def hint_of(site: Site) -> str:
    """What the error itself says to do; what depends on the distribution is in rum.host.remedies."""
    if site.kind == "UsageError":
        return "see `{command} --help`"
    if site.hint == "{install}":
        return DOCTOR
    if site.hint is None or re.fullmatch(r"\{(?!remedies)[^{}]*\}", site.hint):
        return ""
    return re.sub(r"\{remedies\.[^{}]*\}( / \{remedies\.[^{}]*\})*", DOCTOR, site.hint)


def with_tables(text: str) -> str:
    """The page with every table as it is now."""
    known = written(text)

    def table(found: re.Match[str]) -> str:
        lines = [row.line() for row in rows(found[2], known)]
        return "\n".join([found[1] + HEADER, *lines, found[3]])

    text = re.sub(r"(<!-- errors: (\w+) -->\n).*?(<!-- end -->)", table, text, flags=re.DOTALL)
    problems = "\n".join(["<!-- problems -->", *problem_lines(), "<!-- end -->"])
    return re.sub(r"<!-- problems -->\n.*?<!-- end -->", lambda _: problems, text, flags=re.DOTALL)


def problem_lines() -> list[str]:
    """What is said about a rum.toml that is wrong, an example of each."""
    pattern = re.compile(r"^  \S+rum\.toml(?:, line \d+)?: (.*)$", re.MULTILINE)
    texts = [path.read_text(encoding="utf-8") for path in sorted(BAD_CONFIG.glob("*.txt"))]
    said = {found for text in texts for found in pattern.findall(text)}
    return [f"- {textwrap.shorten(line, 400)}".replace("<", "&lt;") for line in sorted(said)]


def test_the_tables_are_current() -> None:
    current = with_tables(TEXT) == TEXT
    assert current, "bring it up to date: python -m tests.unit.host.test_errors_page"


def test_every_error_has_a_cause_and_a_remedy() -> None:
    assert [row.text for row in written(TEXT).values() if not (row.cause and row.remedy)] == []


def test_every_code_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z-]+)` \| \d+ \|", TEXT, re.MULTILINE))
    assert {row.code for row in written(TEXT).values()} == explained


def test_the_example_is_a_line_of_rum() -> None:
    (example,) = re.findall(r"^```json\n(.*?)\n```$", TEXT, re.DOTALL | re.MULTILINE)
    line = checked(example)
    assert dict(line)["error"]["code"] in {row.code for row in written(TEXT).values()}


def test_every_code_has_the_exit_status_of_its_table() -> None:
    said = {code: int(status) for code, status in re.findall(r"^\| `([a-z-]+)` \| (\d+) \|", TEXT, re.MULTILINE)}
    found = {code_of(site): FAMILIES[family_of(site)] for site in sites()}
    assert said == {**found, "interrupted": errors.EXIT_INTERRUPTED}


@pytest.mark.parametrize("site", sites(), ids=lambda site: site.where)
def test_it_is_one_sentence(site: Site) -> None:
    """No full stop at its end, none in the middle, and it begins like the rest of a line after `rum: `."""
    assert not site.text.endswith((".", "!"))
    assert ". " not in site.text
    assert (
        not re.match(r"[A-Z][a-z]", site.text.removeprefix("VM ").removeprefix("Python ")) or site.kind == "UsageError"
    )
    assert site.hint is None or not site.hint.endswith(".")


if __name__ == "__main__":
    PAGE.write_text(with_tables(TEXT), encoding="utf-8")
