"""Images of one channel and of many, from file to network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from softpoint.data.augment import Augment, Color, apply_color
from softpoint.data.geometry import rotate, warp
from softpoint.images import ImageFolder
from softpoint.images.cache import PixelCache
from softpoint.images.decode import image_size, read_image
from softpoint.images.listing import SUFFIXES, image_files, list_images
from softpoint.images.read_options import ReadOptions
from softpoint.layers import Normalize
from softpoint.models.backbones import Small, take_channels
from softpoint.runtime import check_inputs

BANDS = np.random.default_rng(0).integers(0, 256, (21, 33, 5), np.uint8)


@pytest.mark.parametrize("dtype", ["u1", "<u2", ">u2", "i4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_an_array_is_read_as_it_is(dtype: str, order: str, tmp_path: Path) -> None:
    scale = 1 if dtype == "u1" else 256  # the upper 8 of 16 bits are read
    np.save(path := tmp_path / "a.npy", np.asarray(BANDS.astype(dtype) * scale, order=order))
    assert np.array_equal(read_image(path, channels=5), BANDS)
    assert np.array_equal(read_image(path, channels=(4, 0)), BANDS[..., [4, 0]])
    assert image_size(path, ReadOptions(channels=5)) == (21, 33)


@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("dtype", ["<u1", ">u2"])
def test_bands_of_a_tiff(
    tile: tuple[int, int] | None, compression: str | None, planar: str, dtype: str, tmp_path: Path
):
    tifffile = pytest.importorskip("tifffile")
    values = BANDS.astype(dtype) * (1 if dtype == "<u1" else 256)
    stored = values if planar == "contig" else values.transpose(2, 0, 1)
    rows = None if tile else 8
    tifffile.imwrite(
        path := tmp_path / "a.tif", stored, planarconfig=planar, photometric="minisblack", compression=compression,
        predictor=compression and True, tile=tile, rowsperstrip=rows, byteorder=dtype[0],
    )  # fmt: skip
    assert np.array_equal(read_image(path, channels=5), BANDS)
    assert image_size(path) == (21, 33)  # which is the same with any channels
    with pytest.raises(ValueError, match=r"a.tif has 5 channels; set data.channels=5"):
        read_image(path)
    with pytest.raises(ValueError, match=r"a.tif has 5 channels, which data.channels=4 does not read"):
        read_image(path, channels=4)


def test_pages_of_one_channel_are_the_channels_of_an_image(tmp_path: Path) -> None:
    pages = [Image.fromarray(BANDS[..., i]) for i in range(5)]
    pages[0].save(path := tmp_path / "a.tif", save_all=True, append_images=pages[1:], compression="tiff_lzw")
    assert np.array_equal(read_image(path, channels=5), BANDS)
    assert np.array_equal(read_image(path)[..., 0], BANDS[..., 0])


def test_transparency_is_a_channel_where_four_are_read(tmp_path: Path) -> None:
    Image.fromarray(BANDS[..., :4]).save(path := tmp_path / "a.png")
    assert np.array_equal(read_image(path, channels=4), BANDS[..., :4])
    assert np.array_equal(read_image(path)[..., :3], BANDS[..., :3])
    assert np.array_equal(read_image(path, channels=1)[..., 0], cv2.cvtColor(BANDS[..., :3], cv2.COLOR_RGB2GRAY))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (BANDS.astype(np.float32), "is an array of float32, whose range is not known"),
        (BANDS.transpose(2, 0, 1), r"is an array of shape \(5, 21, 33\); save it as \(height, width, channels\)"),
        (BANDS.astype(object), "is an array of object"),
    ],
)
def test_other_arrays_are_refused(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(path := tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(ValueError, match=message):
        read_image(path, channels=5)


def test_a_cache_keeps_bands(tmp_path: Path) -> None:
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", BANDS + np.uint8(i))
    folder, names = ImageFolder(tmp_path, ReadOptions(channels=5)), ("0.npy", "1.npy", "2.npy")
    for kind in ("ram", "disk"):
        cache = PixelCache.open(folder, names, np.array([[21, 33]] * 3), kind, tmp_path / "cache")
        assert cache.channel_count == 5
        assert all(np.array_equal(cache.read(name), folder.read(name)) for name in names)


def test_arrays_are_images_where_a_folder_has_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    np.save(tmp_path / "b.npy", BANDS)
    assert [path.name for path in list_images(tmp_path)] == ["b.npy"]
    Image.fromarray(BANDS[..., 0]).save(tmp_path / "a.jfif", format="JPEG")
    assert [path.name for path in list_images(tmp_path)] == ["a.jfif"]
    assert read_image(tmp_path / "a.jfif").shape == (21, 33, 3)
    image_files([Path("c.heic")])
    assert "c.heic" in caplog.text or Path("c.heic") in image_files([Path("c.heic")])


def test_a_warp_of_bands_is_that_of_each(tmp_path: Path) -> None:
    matrix = rotate(20, (16, 10))
    each = np.dstack([warp(BANDS[..., i : i + 1], matrix, (40, 40), rounded=False) for i in range(5)])
    assert np.array_equal(warp(BANDS, matrix, (40, 40), rounded=False), each)
    assert np.array_equal(warp(BANDS[..., :2], matrix, (40, 40), rounded=False), each[..., :2])


def test_gray_is_augmented_as_gray_of_rgb() -> None:
    gray, color = BANDS[..., :1], Color(brightness=1.2, contrast=0.7, saturation=1.5, hue=0.2, gamma=1.3, blur=1.0)
    changed = apply_color(gray, color)
    assert changed.shape == gray.shape
    difference = changed.astype(int) - apply_color(np.repeat(gray, 3, 2), color)[..., :1]
    assert np.abs(difference).max() <= 1 and np.abs(changed.astype(int) - gray).max() > 20


def test_a_transform_for_rgb_alone_is_refused_by_name() -> None:
    albumentations = pytest.importorskip("albumentations")
    augment = Augment(pixel=[albumentations.RGBShift(p=0.5)])
    augment.check_channels(3)
    with pytest.raises(ValueError, match=r"augment.pixel: RGBShift cannot be applied to images of data.channels=5"):
        augment.check_channels(5)


@pytest.mark.parametrize("channels", [1, 6])
def test_equal_channels_get_the_response_of_gray_as_rgb(channels: int) -> None:
    torch.manual_seed(0)
    backbone, gray = Small(width=8, stages=(2,)).eval(), torch.rand(1, 1, 32, 32)
    expected = backbone(Normalize(backbone.mean, backbone.std)(gray.expand(1, 3, 32, 32)))[0]
    take_channels(backbone, channels)
    normalize = Normalize([0.5] * channels, [0.25] * channels)
    assert torch.allclose(backbone(normalize(gray.expand(1, channels, 32, 32)))[0], expected, atol=1e-5)


def test_a_model_of_gray_takes_colors_as_every_reader_makes_them_gray() -> None:
    colors = np.random.default_rng(1).integers(0, 256, (200, 200, 3), np.uint8)
    (gray,), _, single = check_inputs(colors, None, 1)
    assert single and np.array_equal(gray[..., 0], cv2.cvtColor(colors, cv2.COLOR_RGB2GRAY))
    assert check_inputs(colors[..., 0], None, 1)[0][0].shape == (200, 200, 1)
    with pytest.raises(ValueError, match=r"must be uint8 of shape \(H, W, 5\), got uint8 \(200, 200, 3\)"):
        check_inputs(colors, None, 5)


def test_heic_that_cannot_be_read_names_what_reads_it_whatever_its_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\0\0\0\x18ftypheic" + bytes(32))
    needed = r'is HEIF, which needs pip install "softpoint\[heif\]"'
    with pytest.raises(ValueError, match="is not an image" if ".heic" in SUFFIXES else needed):
        ImageFolder(tmp_path).read("a.jpg")
