"""Charts are written as PNG and SVG files that are equal for equal data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from softpoint.images.decode import read_image
from softpoint.viz.figures import new_figure, styled, write_figure


@styled
def chart(name: str = "nose") -> Figure:
    figure, (axes,) = new_figure()
    axes.plot([0, 1, 2], [0.0, 1.0, 4.0], label=name)
    axes.set_xticks([0, 1, 2], [name, "b", "c"])
    axes.legend()
    return figure


def test_equal_data_give_equal_files(tmp_path: Path) -> None:
    for path in (tmp_path / "deep" / "a.1", tmp_path / "b"):
        write_figure(path, chart())
    assert (tmp_path / "deep" / "a.1.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    image = read_image(tmp_path / "b.png")
    assert np.array_equal(image, read_image(tmp_path / "deep" / "a.1.png")) and image.shape == (600, 1050, 3)
    assert (image == (0, 0x72, 0xB2)).all(-1).any() or image.min() < 100


@pytest.mark.parametrize("name", ["$x_{$", "鼻", "<b>&", "a" * 300, "\\frac{1}"])
def test_a_strange_name_is_drawn_as_text(tmp_path: Path, name: str) -> None:
    write_figure(tmp_path / "a", chart(name))
    assert read_image(tmp_path / "a.png").shape == (600, 1050, 3)
