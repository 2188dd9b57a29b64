"""Files of visitors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from softpoint.demo import feature_map, intensity
from softpoint.explorer import uploads
from softpoint.explorer.uploads import read_maps
from softpoint.viz import write_image


def test_an_image_and_maps_are_what_their_functions_read(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    write_image(tmp_path / "a.png", image)
    upload = read_maps(tmp_path / "a.png")
    assert upload.counts == (1, 1) and np.array_equal(upload.chosen(30, 0, 0).logits, intensity(image, 30))
    maps = np.random.default_rng(0).standard_normal((2, 5, 6, 3), np.float32)
    np.save(tmp_path / "b.npy", maps)
    upload = read_maps(tmp_path / "b.npy")
    assert upload.counts == (2, 3) and np.array_equal(upload.chosen(30, 1, 2).logits, maps[1, :, :, 2])
    with pytest.raises(ValueError, match=r"channel=3 is not in b\.npy, which has 3"):
        upload.chosen(30, 1, 3)


def hostile(folder: Path, name: str) -> None:
    path = folder / name
    if name == "pickle.npy":
        np.save(path, np.array([{}], object), allow_pickle=True)
    elif name == "cut.npy":
        np.save(path, feature_map("random"))
        path.write_bytes(path.read_bytes()[:-1])
    elif name == "maps.png":  # the content decides, not the name
        np.save(folder / "maps.npy", np.zeros(3))
        (folder / "maps.npy").rename(path)
    elif name == "large.png":
        write_image(path, np.zeros((90, 90, 3), np.uint8))
    elif name == "cut.png":
        write_image(path, np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8))
        path.write_bytes(path.read_bytes()[:900])
    else:
        path.write_bytes({"text.png": b"<svg onload=alert(1)>", "empty.png": b"", "heavy.png": bytes(2000)}[name])


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("pickle.npy", "holds Python objects"), ("cut.npy", "fewer than the 16384 bytes"), ("maps.png", "1 axes"),
        ("large.png", "90 x 90 pixels are more than 5000"), ("cut.png", "cut.png: the image cannot be decoded"),
        ("text.png", "its format is unknown"), ("empty.png", "cannot be decoded"), ("heavy.png", "2000 bytes"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    name: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_PIXELS", 5000)
    monkeypatch.setattr(uploads, "MAX_BYTES", 1999 if name == "heavy.png" else 10**6)
    hostile(tmp_path, name)
    with pytest.raises(ValueError, match=reason) as error:
        read_maps(tmp_path / name)
    assert name in str(error.value) and str(tmp_path) not in str(error.value)
