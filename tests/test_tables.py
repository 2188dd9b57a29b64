"""A table of numbers fits the terminal, and its names stay apart."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from softpoint.tables import NumberTable, console, markdown_table, print_markdown, shortened

NAMES = ["eye[/l]", "left_hind_paw_of_the_mirror_image", "left_hind_paw_in_the_mirror_image", "é" * 30]


@pytest.mark.parametrize(("width", "terminal"), [(40, True), (60, False), (80, True), (80, False), (200, True)])
def test_names_are_shortened_before_columns_go(width: int, terminal: bool) -> None:
    table = NumberTable("keypoint", [f"metric {i}" for i in range(8)])
    for name in NAMES:
        table.add_row(name, *[f"{i}.25" for i in range(8)])
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= width
    cells = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    assert "".join(cells) == "".join(NAMES if width == 200 else shortened(NAMES, 24))
    shown = [i for i in range(8) if f"{i}.25" in printed]
    assert shown == list(range(8 if width == 200 else len(shown))) and shown
    assert all(f"metric {i}" in " ".join(printed.split()) for i in range(8))
    way = "widen the terminal for metric" if terminal else r"set COLUMNS=(\d+) for metric"
    found = re.search(way, " ".join(printed.split()))
    assert bool(found) == (len(shown) < 8)
    if found and not terminal:
        wide = Console(file=io.StringIO(), width=int(found[1]), force_terminal=False)
        wide.print(table)
        printed = wide.file.getvalue()  # type: ignore[attr-defined]
        assert "COLUMNS" not in printed and max(map(len, printed.splitlines())) == int(found[1])


@pytest.mark.parametrize(("columns", "width"), [(None, 132), ("90", 84), ("300", 132)])
def test_a_log_has_what_a_terminal_would_be_too_narrow_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: str | None, width: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", columns)
    table = NumberTable("keypoint", [f"metric {i:02}" for i in range(10)])
    table.add_row("nose", *[f"{i}.25" for i in range(10)])
    console().print(table)
    rows = capsys.readouterr().out.splitlines()
    assert len(rows[0]) == width and ("metric 09" in rows[1]) == (columns != "90")


@pytest.mark.parametrize("length", [3, 8, 12, 24, 99])
def test_shortened_names_keep_both_ends_and_differ(length: int) -> None:
    names = [f"{side}_hind_paw_{part}_of_the_mirror" for side in ("left", "right") for part in ("tip", "top", "base")]
    short = shortened(names, length)
    assert len({*short}) == len(names)
    for name, text in zip(names, short, strict=True):
        start, cut, end = text.partition("…")
        assert name.startswith(start) and name.endswith(end) and (cut or text == name)
    assert length < 24 or max(map(len, short)) <= length
    assert shortened([*names, *names], length) == short * 2 and shortened([], length) == []


def test_a_table_that_fits_after_shortening_keeps_its_columns() -> None:
    table = NumberTable("keypoint", ["points", "epe"])
    table.add_row("left_hind_paw_of_the_animal_in_the_mirror_image", "12", "0.25")
    console = Console(file=io.StringIO(), width=60)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "0.25" in printed and "widen" not in printed and "…" in printed
    assert max(map(len, printed.splitlines())) == 60


@pytest.mark.parametrize("terminal", [False, True])
def test_tables_of_a_text_are_drawn_on_a_terminal_alone(terminal: bool) -> None:
    rows = [["left|right", "1.25", "0.5"], ["a [bold]name[/bold]", "**2.5**", "-"]]
    text = f"### Title [a]\n\n{markdown_table(['variant', 'EPE px', 'step'], rows)}\n\n`{'a b ' * 30}`"
    console = Console(file=io.StringIO(), width=60, force_terminal=terminal, color_system=None)
    print_markdown(text, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    if not terminal:
        assert printed == f"{text}\n"
        return
    assert printed.startswith("### Title [a]\n\n┏━") and printed.endswith(f"┘\n\n`{'a b ' * 30}`\n")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in printed.splitlines() if line[0:1] == "│"]
    assert cells == [[cell.strip("*") for cell in row] for row in rows]
