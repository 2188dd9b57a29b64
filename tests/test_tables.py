"""A table of numbers fits the terminal and spells every name in full."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from softpoint.tables import NumberTable

NAMES = ["eye[/l]", "left_hind_paw_of_the_mirror_image", "é" * 30]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_names_are_whole_and_columns_go_first(width: int) -> None:
    table = NumberTable("keypoint", [f"metric {i}" for i in range(8)])
    for name in NAMES:
        table.add_row(name, *[f"{i}.25" for i in range(8)])
    console = Console(file=io.StringIO(), width=width)
    console.print(table)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, printed.splitlines())) <= width
    cells = [line.split("│")[1].strip() for line in printed.splitlines() if line.startswith("│")]
    assert "".join(cells) == "".join(NAMES)
    shown = [i for i in range(8) if f"{i}.25" in printed]
    assert shown == list(range(8 if width == 200 else len(shown))) and shown
    assert all(f"metric {i}" in " ".join(printed.split()) for i in range(8))
    assert ("widen the terminal for metric" in printed) == (len(shown) < 8)
