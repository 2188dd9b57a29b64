"""Images that are written are those that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from softpoint.images.decode import read_image
from softpoint.viz.files import write_image


def test_image_keeps_its_colors(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    write_image(tmp_path / "deep" / "x.png", image)
    assert np.array_equal(read_image(tmp_path / "deep" / "x.png"), image)
