"""Markdown and CSV of studies: tables, sections of a page, the command and the hardware."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from softpoint.labels.csv_io import write_rows
from softpoint.machine import cores, processor
from softpoint.paths import write_text


def hardware() -> str:
    """Return the accelerator, the processor, its cores, the threads in use and the version of torch, as one phrase.

    >>> "torch" in hardware()
    True
    """
    gpu = f"{torch.cuda.get_device_name()}, " if torch.cuda.is_available() else ""
    threads = torch.get_num_threads()
    used = f"{threads} thread{'s' * (threads > 1)}"
    return f"{gpu}{processor()}, {cores()} CPU cores, {used}, torch {torch.__version__}"


def spelled(command: str, words: Sequence[str]) -> str:
    """Return the command that repeats a measurement, without its output folder.

    >>> spelled("compare", ["study=heads", "output=there", "loss=[heatmap_ce]"])
    "softpoint compare study=heads 'loss=[heatmap_ce]'"
    """
    kept = [word for word in words if not word.startswith(("output=", "page=", "hydra."))]
    return shlex.join(["softpoint", command, *kept])


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


def failures(failed: Sequence[str]) -> list[str]:
    """Return failures as lines of a Markdown list, and an empty line; nothing for none.

    >>> failures(["fold 1: no image\\nmouse.png"])
    ['Failed:', '', '- fold 1: no image\\n  mouse.png', '']
    """
    return ["Failed:", "", *("- " + one.replace("\n", "\n  ") for one in failed), ""] if failed else []


def replace_section(page: str, name: str, body: str) -> str:
    """Return the page with the section between the markers of `name` replaced, or added at its end.

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
    """Replace a section of the page at `path`, which is made where it is missing; see `replace_section`."""
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    write_text(path, replace_section(page, name, body))


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV with a column for every key of any row; a cell is empty where a row lacks the key or has None."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([("" if row.get(key) is None else str(row[key])) for key in keys] for row in rows)
    write_rows(path, [keys, *cells])
