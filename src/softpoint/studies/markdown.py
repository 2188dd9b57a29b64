"""Markdown and CSV of studies: tables, sections of a page, the command and the hardware."""

from __future__ import annotations

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
    return f"{gpu}{processor()}, {cores()} CPU core{'s' * (cores() != 1)}, {used}, torch {torch.__version__}"


def interval_text(entry: Mapping[str, Any], format_spec: str = ".2f") -> str:
    """Return a value with the ends of its interval, which it may lack.

    >>> interval_text({"value": -1.0, "low": -1.5, "high": 0.25}, "+.2f")
    '-1.00 (-1.50 to +0.25)'
    """
    value, low, high = (entry.get(key) for key in ("value", "low", "high"))
    return format(value, format_spec) + ("" if low is None else f" ({low:{format_spec}} to {high:{format_spec}})")


def failures(failed: Sequence[str]) -> str:
    """Return failures as a Markdown list; "" for none.

    >>> failures(["fold 1: no image\\nmouse.png"])
    'Failed:\\n\\n- fold 1: no image\\n  mouse.png'
    """
    return "\n".join(["Failed:\n", *("- " + reason.replace("\n", "\n  ") for reason in failed)]) if failed else ""


def paragraphs(*texts: str) -> str:
    """Return texts separated by empty lines, without empty ones."""
    return "\n\n".join(text for text in texts if text)


def update_page(path: Path, name: str, body: str) -> None:
    """Replace the section between the markers of `name` in the page at `path`, or add it at the end.

    A page that is missing is made. Raises ValueError for a first marker without the second.
    """
    page = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    section = f"{begin}\n{body.strip()}\n{end}"
    before, opened, rest = page.partition(begin)
    _, closed, after = rest.partition(end)
    if opened and not closed:
        raise ValueError(f"{path} has {begin!r} without {end!r}; add it, or take both out")
    write_text(path, f"{before}{section}{after}" if opened else f"{page.rstrip()}\n\n{section}\n".lstrip())


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a CSV with a column for every key of any row; a cell is empty where a row lacks the key or has None."""
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = ([("" if row.get(key) is None else str(row[key])) for key in keys] for row in rows)
    write_rows(path, [keys, *cells])
