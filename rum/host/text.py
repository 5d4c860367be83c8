"""Bytes from a guest as lines that are safe and pleasant to print."""

from __future__ import annotations

import codecs
import re

LINE_MAX = 16 * 1024
"""Characters of a line without an end that are kept before it is shown in pieces."""

# ECMA-48: control sequences, strings (titles, links) up to their terminator, and two-character escapes.
ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")

# C0 and C1 controls, and what reorders, hides or breaks a line: bidirectional marks and overrides, line and paragraph
# separators, the byte order mark, annotations and tags (Unicode TR36, CVE-2021-42574).
CONTROLS = re.compile(
    "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """The text without escape sequences and control characters other than tabs, also where it is printed to a file.

    Colours go with the rest: what can colour text can hide it.

    >>> clean("\\x1b[31mred\\x1b[0m\\x07")
    'red'
    """
    return CONTROLS.sub("", ESCAPES.sub("", text)) if CONTROLS.search(text) else text


def last_state(line: str) -> str:
    """What a terminal would show last of a line that was rewritten with carriage returns.

    >>> last_state("10 %\\r100 %\\r")
    '100 %'
    """
    states = [state for state in line.split("\r") if state]
    return states[-1] if states else ""


def rewritten(line: str) -> str:
    """What the beginning of a line comes to, whatever comes after it: a progress bar may go on for hours.

    >>> rewritten("10 %\\r20 %\\r"), rewritten("10 %\\r2"), rewritten("text")
    ('20 %\\r', '2', 'text')
    """
    return last_state(line) + ("\r" if line.endswith("\r") else "") if "\r" in line else line


class LineAssembler:
    """Makes lines of bytes however they were cut; what is no UTF-8 becomes U+FFFD."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending = ""

    def feed(self, data: bytes, *, final: bool = False) -> list[str]:
        """The lines that are whole now; with `final` also the last one without an end."""
        self._pending += self._decoder.decode(data, final)
        *lines, self._pending = self._pending.split("\n")
        self._pending = rewritten(self._pending)
        if self._pending and (final or len(self._pending) > LINE_MAX):
            lines.append(self._pending)
            self._pending = ""
        return [clean(last_state(line)) for line in lines]

    @property
    def unfinished(self) -> str:
        """What the line that has no end yet shows by now."""
        return clean(last_state(self._pending))
