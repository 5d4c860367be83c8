"""An SVG of what a terminal shows. Every word has a place of its own, so that any monospaced font will do."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping

import pyte
from rich.console import Console
from rich.style import Style
from rich.terminal_theme import TerminalTheme
from rich.text import Text

NORMAL = [(72, 79, 88), (255, 123, 114), (63, 185, 80), (210, 153, 34)]
BRIGHT = [(121, 129, 139), (255, 161, 152), (86, 211, 100), (227, 179, 65)]
BLUES = [(88, 166, 255), (188, 140, 255), (57, 197, 207), (177, 186, 196)]
THEME = TerminalTheme((13, 17, 23), (201, 209, 217), NORMAL + BLUES, BRIGHT + BLUES)
"""Colours of a dark terminal, legible on a page of either kind."""

COLOURS = {"green": "green", "red": "red", "cyan": "cyan", "brown": "yellow", "brightblack": "bright_black"}
"""pyte's names of the colours that rum uses, and rich's."""

BLANK = Style(italic=False)
"""Looks like nothing, and is different from the words on both sides: rich places what differs on its own."""

FORMAT = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  font-size: {char_height}px;
  line-height: {line_height}px;
  white-space: pre;
}}
.{unique_id}-title {{ font-family: sans-serif; font-size: 18px; font-weight: bold; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own without the fonts that it loads from elsewhere."""


def svg(name: str, command: str, rows: Iterable[Mapping[int, pyte.screens.Char]], columns: int) -> str:
    """The picture of a command line and the rows of the screen under it; `name` tells pictures on one page apart."""
    console = Console(record=True, width=columns, file=io.StringIO(), force_terminal=True, color_system="standard")
    console.print(Text.assemble(("$", "bright_black"), (" ", BLANK), (command, "bold")))
    for row in rows:
        console.print(styled(row, columns), no_wrap=True, crop=False, soft_wrap=True)
    return console.export_svg(title=command, theme=THEME, code_format=FORMAT, unique_id=f"rum-{name}")


def styled(row: Mapping[int, pyte.screens.Char], columns: int) -> Text:
    """A row of the screen in rich's terms."""
    text = Text()
    for column in range(columns):
        char = row[column]
        style = Style(color=COLOURS.get(char.fg), bold=char.bold or None)
        text.append(char.data, BLANK if char.data == " " else style)
    text.rstrip()
    return text
