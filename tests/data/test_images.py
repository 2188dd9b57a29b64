"""Pictures of every usual kind are read alike, and a bad one is named."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softpoint.data.images import image_size, list_images, read_image

SHARED = Path(os.environ.get("SOFTPOINT_DATA", Path(__file__).parents[2].parent / "shared")) / "keypoints"
GRADIENT = np.stack(np.broadcast_arrays(np.arange(40)[None] * 6, np.arange(30)[:, None] * 8, 77), axis=-1)
RGB = GRADIENT.astype(np.uint8)


def saved(folder: Path, picture: Image.Image, suffix: str, **options: object) -> Path:
    path = folder / f"picture{suffix}"
    picture.save(path, **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm", ".jp2"])
def test_lossless_kinds_give_the_same_pixels(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), suffix, **({"lossless": True} if suffix == ".webp" else {}))
    image = read_image(path)
    assert np.array_equal(image, RGB) and image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable
    assert image_size(path) == (30, 40)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_modes(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path, Image.fromarray(RGB).convert(mode), ".jpg", quality=100)
    expected = np.asarray(Image.fromarray(RGB).convert(mode).convert("RGB")).astype(int)
    assert np.abs(read_image(path) - expected).max() <= 8


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "1", "P"])
def test_png_modes(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(read_image(saved(tmp_path, picture, ".png")), expected)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    clear = np.concatenate([RGB, np.zeros((30, 40, 1), np.uint8)], axis=2)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(clear), ".png")), RGB)
    palette = Image.fromarray(RGB).convert("P")
    expected = np.asarray(palette.convert("RGB"))
    path = saved(tmp_path, palette, ".png", transparency=bytes(range(256)))
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_keep_the_upper_byte(tmp_path: Path, suffix: str) -> None:
    grey = (np.arange(30)[:, None] * 2000 + np.arange(40)[None]).astype(np.uint16)
    image = read_image(saved(tmp_path, Image.fromarray(grey), suffix))
    assert np.array_equal(image, np.repeat((grey // 256).astype(np.uint8)[..., None], 3, axis=2))


def test_orientation_tag_is_ignored_by_both(tmp_path: Path) -> None:
    tag = Image.Exif()
    tag[274] = 6  # "turn by 90 degrees to show"
    path = saved(tmp_path, Image.fromarray(RGB), ".png", exif=tag)
    assert image_size(path) == (30, 40)
    assert np.array_equal(read_image(path), RGB)


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(np.ones((4, 4), np.float32)), ".tif")
    with pytest.raises(ValueError, match=r"floating-point.*save it with 8 or 16 bits"):
        read_image(path)
    path = saved(tmp_path, Image.fromarray(np.full((4, 4), 70000, np.int32)), ".tif")
    with pytest.raises(ValueError, match="span 70000 to 70000"):
        read_image(path)


def test_missing_and_folder_and_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture")
    for read in (read_image, image_size):
        with pytest.raises(FileNotFoundError, match=r"nowhere.png does not exist; check"):
            read(tmp_path / "nowhere.png")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read(tmp_path / "text.png" / "inside.png")
        with pytest.raises(ValueError, match="is a folder"):
            read(tmp_path)
        with pytest.raises(ValueError, match=r"empty.png is empty \(0 bytes\)"):
            read(tmp_path / "empty.png")
        with pytest.raises(ValueError, match=r"text.png is not an image that can be read"):
            read(tmp_path / "text.png")
        with pytest.raises(ValueError, match="cannot be decoded"):
            read(tmp_path / ("n" * 300 + ".png"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_truncated(tmp_path: Path, suffix: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(noise), suffix)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(ValueError, match=f"picture{suffix} "):
        read_image(path)


def test_decompression_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), ".png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match="too large to decode safely"):
            read(path)


def test_other_formats_of_the_library_stay_closed(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match="is not an image"):
        read_image(path)


def test_list_images(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.jpg", "a.tif", ".hidden/x.png", "b/._2.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)] == [
        "a.tif",
        "b/10.jpg",
        "b/2.PNG",
    ]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_images(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        list_images(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"holds no picture; looked below it for .png"):
        list_images(tmp_path / "none")


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data sets at {SHARED}; set SOFTPOINT_DATA")
@pytest.mark.parametrize("name", ["mirror-mouse", "dlc-openfield", "fly-wing", "glue-tubes", "ultrasound-tongue"])
def test_real_pictures(name: str) -> None:
    paths = list_images(SHARED / name)
    for path in paths[:: max(1, len(paths) // 4)]:
        image = read_image(path)
        assert image.shape == (*image_size(path), 3) and image.std() > 5
