"""Pictures that are written are those that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softpoint.data.pictures.images import read_image
from softpoint.viz.files import write_picture


def test_picture_keeps_its_colours(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "deep" / "x.png", image)
    assert np.array_equal(read_image(tmp_path / "deep" / "x.png"), image)
