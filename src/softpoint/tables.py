"""Tables on a terminal and in Markdown."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import groupby

from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

_UNLIMITED = 1 << 16
_WIDEST = 200  # characters of a line in a log
_SHORTEST = 24  # characters to which long names are shortened


def console() -> Console:
    """Return the console of standard output, whose width is the terminal's, or COLUMNS.

    Where there is neither, as in a log, tables take what they need, up to 200 characters.
    """
    found = Console()
    if not (found.is_terminal or found.is_jupyter or os.environ.get("COLUMNS")):
        found.width = _WIDEST
    return found


class NumberTable(Table):
    """A table of names and columns of numbers.

    Where the terminal is too narrow, long names are shortened in the middle, each still unlike the others; then the
    last columns are left out and named below the table.

    >>> table = NumberTable("keypoint", ["points", "error (px)"])
    >>> table.add_row("left[ear]", "12", "0.25")
    >>> Console(width=40).print(table)
    ┏━━━━━━━━━━━┳━━━━━━━━┳━━━━━━━━━━━━┓
    ┃ keypoint  ┃ points ┃ error (px) ┃
    ┡━━━━━━━━━━━╇━━━━━━━━╇━━━━━━━━━━━━┩
    │ left[ear] │     12 │       0.25 │
    └───────────┴────────┴────────────┘
    """

    def __init__(self, names: str, headings: Sequence[str], title: str | None = None) -> None:
        super().__init__(title=None if title is None else Text(title))
        self.add_column(names, overflow="fold")
        for heading in headings:
            self.add_column(heading, justify="right")

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        shown, options = copy(self), options.update(markup=False)
        shown.columns = [*self.columns]
        unlimited = options.update(width=_UNLIMITED)

        def excess() -> int:
            return shown.__rich_measure__(console, unlimited).maximum - options.max_width

        needed = options.max_width + excess()

        if len(shown.columns) > 1 and (over := excess()) > 0:
            names = [str(cell) for cell in self.columns[0]._cells]
            longest = max([len(str(self.columns[0].header)), *map(len, names)])
            cells = shortened(names, max(_SHORTEST, longest - over))
            shown.columns[0] = replace(self.columns[0], _cells=[*cells])
        while len(shown.columns) > 2 and excess() > 0:
            shown.columns.pop()
        if left_out := [str(column.header) for column in self.columns[len(shown.columns) :]]:
            way = "widen the terminal" if console.is_terminal else f"set COLUMNS={needed}"
            shown.caption = f"{way} for {', '.join(left_out)}"
        yield from Table.__rich_console__(shown, console, options)


def shortened(names: Sequence[str], length: int) -> list[str]:
    """Return names of at most `length` characters, or of the fewest more that keep different names apart.

    >>> shortened(["left_front_paw_tip", "left_front_paw_base", "nose"], 12)
    ['left_f…w_tip', 'left_f…_base', 'nose']
    """
    for kept in range(max(length, 1), max(map(len, names), default=0)):
        for end in sorted(range(kept), key=lambda end: abs(2 * end - kept + 1)):  # the cut is near the middle
            short = [n if len(n) <= kept else f"{n[: kept - 1 - end]}…{n[len(n) - end :]}" for n in names]
            if len({*short}) == len({*names}):
                return short
    return [*names]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with the first column aligned left, as text, and the others right, as numbers.

    >>> print(markdown_table(["head", "EPE"], [["a|b", "1.0"]]))
    | head | EPE |
    |---|---:|
    | a\\|b | 1.0 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|---" + "|---:" * (len(header) - 1) + "|", *text[1:]])


def print_markdown(text: str, console: Console) -> None:
    """Print a text whose tables are drawn where it is read on a terminal, and stay Markdown in a file."""
    for is_table, lines in groupby(text.splitlines(), key=lambda line: console.is_terminal and line.startswith("|")):
        if is_table:
            console.print(_drawn([*lines]))
        else:
            console.print("\n".join(lines), markup=False, emoji=False, highlight=False, soft_wrap=True)


def _drawn(lines: Sequence[str]) -> NumberTable:
    header, _, *rows = ([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines)
    table = NumberTable(header[0], header[1:])
    for row in rows:
        bold = [cell.startswith("**") for cell in row]
        texts = [cell.replace("\\|", "|").strip("*") for cell in row]
        table.add_row(*(Text(text, "bold") if is_bold else text for text, is_bold in zip(texts, bold, strict=True)))
    return table
