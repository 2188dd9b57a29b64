"""An image from the network has the pixels of the same file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softpoint.images.decode import image_size, read_image
from softpoint.images.read_options import ReadOptions

pytest.importorskip("fastapi", reason="serving needs its libraries: pip install 'softpoint[serve]'")
from softpoint.serving import schemas

PIXELS = np.random.default_rng(0).integers(0, 256, (21, 34, 4), np.uint8)


def body(kind: str, mode: str, orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    file = io.BytesIO()
    options = {} if kind == "BMP" else {"exif": tags}
    Image.fromarray(PIXELS).convert(mode).save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("orientation", [1, 5, 6])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", schemas.FORMATS)
@pytest.mark.parametrize("exif", ["apply", "ignore"])
def test_it_is_measured_and_decoded_as_a_file_is(tmp_path: Path, kind: str, mode: str, orientation: int, exif: str):
    sent, path = body(kind, mode, orientation), tmp_path / "image"
    path.write_bytes(sent)
    options = ReadOptions(exif, 10_000)
    image = schemas.image_pixels(sent, options)
    np.testing.assert_array_equal(image, read_image(path, exif=exif))
    assert schemas.image_size(sent, options) == image_size(path, ReadOptions(exif)) == image.shape[:2]
    turned = exif == "apply" and orientation > 4 and kind != "BMP"
    assert image.shape == ((34, 21, 3) if turned else (21, 34, 3))


def test_unwanted_exif_is_refused_with_the_setting_of_the_server():
    with pytest.raises(Exception, match=r"carries the EXIF orientation 6.* set exif=apply") as refused:
        schemas.image_size(body("JPEG", "RGB", 6), ReadOptions("error", 10_000))
    assert refused.value.status_code == 422  # type: ignore[attr-defined]
