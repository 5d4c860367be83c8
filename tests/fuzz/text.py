"""Output and the serial console as lines."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from rum.host.console import diagnose, read_console
from rum.host.text import LINE_MAX, LineAssembler, clean
from tests.fuzz.cuts import Pieces, same_however_cut

UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
SEEDS = [
    b"\x1b[1;31mred\x1b[0m\n",
    b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07\x9b31m\xc2\x9b2J\n",
    b"10 %\r100 %\r\npart\xe2\x80\xaeial\xc3",
    b"[    1.0] Kernel panic - not syncing: {detail}\nLinux version\ncloud-init login: ",
]


def events_of(stream: Pieces) -> list[str]:
    lines = LineAssembler()
    return [line for piece in stream for line in lines.feed(piece)] + lines.feed(b"", final=True)


def check(data: bytes) -> None:
    """Lines without anything that a terminal would act on."""
    for line in same_however_cut(data[: LINE_MAX // 4], events_of):
        assert UNSAFE.search(line) is None
        assert clean(line) == line
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "console.log"
        log.write_bytes(data)
        assert UNSAFE.search(diagnose(read_console(log))) is None
