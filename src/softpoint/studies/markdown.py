"""What studies leave behind: tables as Markdown, sections of a page, and where they were measured."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from softpoint.labels.csv_io import write_rows
from softpoint.machine import cores, processor
from softpoint.paths import write_text
from softpoint.studies.statistics import Interval


def hardware() -> str:
    """The machine in one phrase: its accelerator or processor, cores, and torch.

    >>> "torch" in hardware()
    True
    """
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    used = f"{threads} thread{'s' * (threads > 1)}"
    return f"{gpu}{processor()}, {cores()} CPU cores, {used}, torch {torch.__version__}"


def spelled(script: str, words: Sequence[str]) -> str:
    """The command that repeats a measurement, without where it wrote.

    >>> spelled("compare", ["study=heads", "output=there", "loss=[heatmap_ce]"])
    "python scripts/compare.py study=heads 'loss=[heatmap_ce]'"
    """
    kept = [word for word in words if not word.startswith(("output=", "write_docs=", "hydra."))]
    return shlex.join(["python", f"scripts/{script}.py", *kept])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; the first column is text, the others are numbers.

    >>> print(markdown_table(["head", "EPE"], [["a|b", "1.0"]]))
    | head | EPE |
    |---|---:|
    | a\\|b | 1.0 |
    """
    lines = [header, *rows]
    text = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join([text[0], "|---" + "|---:" * (len(header) - 1) + "|", *text[1:]])


def failures(failed: Sequence[str]) -> list[str]:
    """What failed, as lines of a Markdown list with an empty one behind; nothing where nothing did.

    >>> failures(["fold 1: no image\\nmouse.png"])
    ['Failed:', '', '- fold 1: no image\\n  mouse.png', '']
    """
    return ["Failed:", "", *("- " + one.replace("\n", "\n  ") for one in failed), ""] if failed else []


def first_line(text: str) -> str:
    """What fits a cell of a table.

    >>> first_line("no image\\nmouse.png")
    'no image'
    """
    return text.partition("\n")[0]


def number(value: float | None, digits: int = 2) -> str:
    """A number for a table; a dash for none.

    >>> number(3.14159), number(None)
    ('3.14', '-')
    """
    return "-" if value is None else f"{value:.{digits}f}"


def with_ends(interval: Interval | None, digits: int = 2, signed: bool = False) -> str:
    """A value with the ends of its interval, for a table.

    >>> with_ends(Interval(-1.0, -1.5, 0.25), signed=True)
    '-1.00 (-1.50 to +0.25)'
    """
    if interval is None:
        return "-"
    sign = "+" if signed else ""
    ends = "" if interval.low is None else f" ({interval.low:{sign}.{digits}f} to {interval.high:{sign}.{digits}f})"
    return f"{interval.value:{sign}.{digits}f}{ends}"


def replace_section(page: str, name: str, body: str) -> str:
    """The page with the section between the markers of `name` replaced, or with one more at its end.

    >>> page = replace_section("# Results\\n", "heads", "one")
    >>> print(replace_section(page, "heads", "two"), end="")
    # Results
    <BLANKLINE>
    <!-- heads: begin -->
    two
    <!-- heads: end -->
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    before, opened, rest = page.partition(begin)
    if not opened:
        return f"{page.rstrip()}\n\n{section}\n".lstrip()
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"the page has {begin!r} without {end!r}; add it, or take both out")
    return f"{before}{section}{after}"


def update_page(path: Path, name: str, body: str) -> None:
    """Replaces a section of the page at `path`, which need not be there yet; see `replace_section`."""
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    write_text(path, replace_section(page, name, body))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a CSV with a column for every key that any row has; empty where a row has it not, or None."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([("" if row.get(key) is None else str(row[key])) for key in keys] for row in rows)
    write_rows(path, [keys, *cells])
