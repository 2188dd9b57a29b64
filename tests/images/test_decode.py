"""Decoding of images of every common format, and of damaged and hostile ones."""

from __future__ import annotations

import os
import platform
import resource
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from softpoint.images.decode import decode_image, decoded, image_size, read_image
from softpoint.images.headers import read_header, turned
from softpoint.images.listing import list_images
from softpoint.images.read_options import ReadOptions

GRADIENT = np.stack(np.broadcast_arrays(np.arange(40)[None] * 6, np.arange(30)[:, None] * 8, 77), axis=-1)
RGB = GRADIENT.astype(np.uint8)


def saved(folder: Path, image: Image.Image, suffix: str, **options: object) -> Path:
    """Save an image, as WebP without losses."""
    path = folder / f"image{suffix}"
    image.save(path, **({"lossless": True} if suffix == ".webp" else {}), **options)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm", ".jp2"])
def test_lossless_kinds_give_the_same_pixels(tmp_path: Path, suffix: str) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), suffix)
    image = read_image(path)
    assert np.array_equal(image, RGB) and image.dtype == np.uint8
    assert image.flags.c_contiguous and image.flags.writeable
    assert image_size(path) == (30, 40)


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [*((".jpg", mode) for mode in ("RGB", "L", "CMYK")), *((".png", m) for m in ("L", "LA", "RGBA", "1", "P"))],
)
def test_every_mode_is_read_as_rgb(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(RGB).convert(mode)
    pixels = read_image(saved(tmp_path, image, suffix, quality=100)).astype(int)
    assert np.abs(pixels - np.asarray(image.convert("RGB"))).max() <= (8 if suffix == ".jpg" else 0)


def test_transparency_is_dropped(tmp_path: Path) -> None:
    clear = np.concatenate([RGB, np.zeros((30, 40, 1), np.uint8)], axis=2)
    assert np.array_equal(read_image(saved(tmp_path, Image.fromarray(clear), ".png")), RGB)
    palette = Image.fromarray(RGB).convert("P")
    expected = np.asarray(palette.convert("RGB"))
    path = saved(tmp_path, palette, ".png", transparency=bytes(range(256)))
    assert np.array_equal(read_image(path), expected)


def tagged(folder: Path, orientation: int, suffix: str, **options: object) -> Path:
    tag = Image.Exif()
    tag[274] = orientation
    return saved(folder, Image.fromarray(RGB), suffix, exif=tag, **options)


# As a viewer shows an image of one channel whose file holds [[1, 2, 3], [4, 5, 6]].
SHOWN = {
    1: [[1, 2, 3], [4, 5, 6]], 2: [[3, 2, 1], [6, 5, 4]], 3: [[6, 5, 4], [3, 2, 1]], 4: [[4, 5, 6], [1, 2, 3]],
    5: [[1, 4], [2, 5], [3, 6]], 6: [[4, 1], [5, 2], [6, 3]], 7: [[6, 3], [5, 2], [4, 1]], 8: [[3, 6], [2, 5], [1, 4]],
}  # fmt: skip


@pytest.mark.parametrize("orientation", SHOWN)
def test_orientations_are_as_viewers_show_them(orientation: int) -> None:
    image = np.array(SHOWN[1])[..., None]
    assert turned(image, orientation)[..., 0].tolist() == SHOWN[orientation]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".jpg", {}), (".tif", {}), (".tif", {"compression": "tiff_lzw"}), (".webp", {})],
)
@pytest.mark.parametrize("orientation", SHOWN)
def test_orientation_is_applied_ignored_or_refused(
    tmp_path: Path, suffix: str, options: dict[str, str], orientation: int
) -> None:
    path = tagged(tmp_path, orientation, suffix, **options)
    raw = read_image(path, exif="ignore")
    assert np.abs(raw.astype(int) - RGB).max() <= (16 if suffix == ".jpg" else 0)
    assert image_size(path, ReadOptions(exif="ignore")) == (30, 40)
    upright = read_image(path, exif="apply")
    assert np.array_equal(upright, turned(raw, orientation)) and upright.flags.c_contiguous
    assert image_size(path, ReadOptions(exif="apply")) == upright.shape[:2]
    refused = pytest.raises(ValueError, match=rf"orientation {orientation}: .* data.exif=apply .* data.exif=ignore")
    for read in (decoded, image_size):
        with nullcontext() if orientation == 1 else refused:
            read(path, ReadOptions("error"))


def test_png_may_state_its_orientation_after_its_pixels(tmp_path: Path) -> None:
    data = tagged(tmp_path, 8, ".png").read_bytes()
    chunk, rest = png_chunk(data, b"eXIf"), png_chunk(data, b"IEND")
    path = tmp_path / "after.png"
    path.write_bytes(data.replace(chunk, b"").replace(rest, chunk + rest))
    assert image_size(path, ReadOptions(exif="apply")) == (40, 30)
    assert np.array_equal(read_image(path, exif="apply"), turned(RGB, 8))


def png_chunk(data: bytes, kind: bytes) -> bytes:
    start = data.index(kind) - 4
    return data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]


def test_a_damaged_exif_block_is_ignored(tmp_path: Path) -> None:
    exif = b"Exif\0\0MM\0*" + b"\xff" * 20
    path = saved(tmp_path, Image.fromarray(RGB), ".jpg", exif=exif)
    assert image_size(path, ReadOptions(exif="error")) == read_image(path, exif="error").shape[:2] == (30, 40)


def test_another_value_of_exif_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB), ".png")
    with pytest.raises(ValueError, match=r"data.exif='aply': did you mean 'apply'"):
        read_image(path, exif="aply")


def test_missing_and_folder_and_empty(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not an image")
    for read in (read_image, image_size):
        with pytest.raises(FileNotFoundError, match=r"nowhere.png does not exist; check"):
            read(tmp_path / "nowhere.png")
        with pytest.raises(ValueError, match=r"text.png"):
            read(tmp_path / "text.png" / "000001")
        with pytest.raises(FileNotFoundError, match="does not exist"):
            read(tmp_path / "nowhere" / "000001")
        with pytest.raises(ValueError, match="is a folder"):
            read(tmp_path)
        with pytest.raises(ValueError, match=r"empty.png is empty \(0 bytes\)"):
            read(tmp_path / "empty.png")
        with pytest.raises(ValueError, match=r"text.png is not an image that can be read"):
            read(tmp_path / "text.png")
        with pytest.raises(ValueError, match="cannot be decoded"):
            read(tmp_path / ("n" * 300 + ".png"))


def test_a_pipe_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"pipe.png is no ordinary file"):
            read(tmp_path / "pipe.png")


def encoded(kind: str) -> bytes:
    """A small image that compresses in some places and not in others."""
    image = RGB[:24, :20].copy()
    image[8:16, 5:15] = np.random.default_rng(0).integers(0, 256, (8, 10, 3))
    thumbnail = BytesIO()
    Image.new("RGB", (8, 8)).save(thumbnail, "JPEG")
    options: dict[str, dict[str, object]] = {
        "JPEG progressive": {"progressive": True},
        "JPEG2000 tiles": {"tile_size": (12, 12)},
        "JPEG thumbnail": {"exif": b"Exif\0\0MM\0*\0\0\0\10\0\0\0\0\0\0" + thumbnail.getvalue()},
        "PNG exif": {"exif": b"MM\0*\0\0\0\10\0\0\0\0\0\0"},
        "TIFF packed": {"compression": "tiff_lzw"},
        "WEBP": {"lossless": True},
    }
    file = BytesIO()
    Image.fromarray(image).save(file, kind.split()[0], **options.get(kind, {}))  # type: ignore[arg-type]
    return file.getvalue()


KINDS = {
    kind: encoded(kind)
    for kind in (
        "JPEG", "JPEG progressive", "JPEG thumbnail", "PNG", "PNG exif", "BMP", "TIFF", "TIFF packed", "WEBP", "GIF",
        "PPM", "JPEG2000", "JPEG2000 tiles",
    )
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused_or_whole(tmp_path: Path, kind: str) -> None:
    data, path = KINDS[kind], tmp_path / "cut"
    path.write_bytes(data)
    whole = read_image(path)
    refused = 0
    cuts = sorted({*range(0, len(data), max(1, len(data) // 150)), *range(len(data) - 30, len(data))})
    for cut in cuts:
        path.write_bytes(data[:cut])
        try:
            image = read_image(path)
        except ValueError:
            refused += 1
        else:
            assert np.array_equal(image, whole), f"cut at {cut} of {len(data)}"
    assert refused > 0.8 * len(cuts)


def test_tiles_missing_from_a_jpeg2000_are_not_black(tmp_path: Path) -> None:
    data = KINDS["JPEG2000 tiles"]
    tiles = [i for i in range(len(data)) if data.startswith(b"\xff\x90\0\x0a", i)]
    assert len(tiles) == 4
    for start in tiles:
        (tmp_path / "cut.jp2").write_bytes(data[:start])
        with pytest.raises(ValueError, match="truncated"):
            read_image(tmp_path / "cut.jp2")


@pytest.mark.parametrize("more", [b"\0" * 9, b"something else", encoded("JPEG")])
@pytest.mark.parametrize("kind", ["JPEG", "JPEG progressive", "PNG"])
def test_bytes_after_the_end_are_ignored(tmp_path: Path, kind: str, more: bytes) -> None:
    (tmp_path / "whole").write_bytes(KINDS[kind])
    (tmp_path / "longer").write_bytes(KINDS[kind] + more)
    assert np.array_equal(read_image(tmp_path / "longer"), read_image(tmp_path / "whole"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=6))
def test_a_damaged_file_is_an_image_or_a_value_error(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, int]]
) -> None:
    data, path = bytearray(KINDS[kind]), tmp_path_factory.getbasetemp() / "damaged"
    for place, value in changes:
        data[place % len(data)] = value
    path.write_bytes(bytes(data))
    try:
        size = image_size(path, ReadOptions(exif="apply", max_pixels=10**6))
        image = read_image(path, exif="apply", max_pixels=10**6)
    except ValueError as error:
        assert type(error) is ValueError and "damaged" in str(error)
    else:
        assert image.shape == (*size, 3) and image.dtype == np.uint8


def png(width: int, height: int, depth: int, color: int, data: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("kind", [b"IHDR", b"IDAT", b"IEND"])
def test_no_memory_is_allocated_for_bytes_that_a_png_only_claims(tmp_path: Path, kind: bytes) -> None:
    data, path = bytearray(KINDS["PNG"]), tmp_path / "image.png"
    place = data.index(kind) - 4
    data[place : place + 4] = struct.pack(">I", 2**31 - 1)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"image.png"):
        read_image(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 200_000  # KiB


def test_a_png_with_too_few_rows_is_refused(tmp_path: Path) -> None:
    rows = b"".join(b"\0" + RGB[i].tobytes() for i in range(30))
    path = tmp_path / "image.png"
    path.write_bytes(png(40, 30, 8, 2, rows))
    assert np.array_equal(read_image(path), RGB)
    path.write_bytes(png(40, 30, 8, 2, rows[: len(rows) // 2]))
    with pytest.raises(ValueError, match="truncated or damaged"):
        read_image(path)


def deep(folder: Path, kind: str, values: np.ndarray) -> Path:
    """A file of these values (H, W) in one of the ways in which more than 8 bits are stored."""
    path = folder / f"deep.{kind[:3]}"
    if kind.startswith("png"):
        channels = int(kind[-1])
        rows = np.repeat(values[..., None], channels, axis=2).astype(">u2")
        color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
        path.write_bytes(png(values.shape[1], len(values), 16, color, b"".join(b"\0" + row.tobytes() for row in rows)))
        return path
    if kind in ("tif rgb", "pgm", "ppm", "jp2", "jp2 rgb"):
        colors = np.repeat(values[..., None], 3, axis=2) if kind in ("tif rgb", "ppm", "jp2 rgb") else values
        cv2.imwrite(str(path), colors.astype(np.uint16), [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000])
        return path
    dtype = np.int32 if kind == "tif int32" else np.uint16
    saved(folder, Image.fromarray(values.astype(dtype)), ".tif").rename(path)
    data = bytearray(path.read_bytes())
    if kind == "tif white is 0":
        place = data.index(struct.pack("<HHI", 262, 3, 1)) + 8
        data[place] = 0
    path.write_bytes(data)
    return path


WIDE = [
    "png 1",
    "png 2",
    "png 3",
    "png 4",
    "tif",
    "tif int32",
    "tif white is 0",
    "tif rgb",
    "pgm",
    "ppm",
    "jp2",
    "jp2 rgb",
]


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize(("used", "bits"), [(16, None), (12, 12), (8, 8)])
def test_the_upper_eight_of_the_used_bits_are_kept(tmp_path: Path, kind: str, used: int, bits: int | None) -> None:
    values = np.random.default_rng(0).integers(0, 1 << used, (128, 160))
    values[0, 0] = (1 << used) - 1
    path, expected = deep(tmp_path, kind, values), values >> (used - 8)
    expected = 255 - expected if kind == "tif white is 0" else expected
    assert np.array_equal(read_image(path, bits=bits), np.repeat(expected[..., None], 3, axis=2))
    assert decoded(path).bits == used
    fault = rf"deep.* has values up to {values.max()}, more than .*; set data.bits={used}"
    with pytest.raises(ValueError, match=fault if used > 8 else "data.bits=7 must be a whole number from 8 to 16"):
        read_image(path, bits=used - 1)


def test_declared_bits_are_those_that_are_used(tmp_path: Path) -> None:
    """Signed values of 16 bits have 15 for their size."""
    values = np.random.default_rng(0).integers(0, 1 << 15, (5, 7))
    signed = TiffImagePlugin.ImageFileDirectory_v2()
    signed[339] = 2
    path = saved(tmp_path, Image.fromarray(values.astype(np.uint16)), ".tif", tiffinfo=signed)
    assert np.array_equal(read_image(path)[..., 0], values >> 7) and decoded(path).bits == 0


@pytest.mark.parametrize(("kind", "largest"), [(2, 4095), (5, 4095), (5, 1000), (6, 4095), (3, 300)])
def test_the_largest_value_of_netpbm_is_white(tmp_path: Path, kind: int, largest: int) -> None:
    values = np.random.default_rng(0).integers(0, largest + 1, (5, 7, 3 if kind % 3 == 0 else 1))
    values[0, 0] = largest
    content = b" ".join(b"%d" % v for v in values.ravel()) if kind < 4 else values.astype(">u2").tobytes()
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P%d\n# a comment of 9 9 9\n7 5\n%d\n%s\n" % (kind, largest, content))
    expected = np.broadcast_to(values * 256 // (largest + 1), (5, 7, 3))
    assert np.array_equal(read_image(path), expected) and expected.max() == 255
    if largest == 4095:
        assert np.array_equal(read_image(path, bits=12), expected)
    assert np.array_equal(decode_image(path.read_bytes()), expected) and decoded(path).bits == 0


def test_wide_colors_keep_their_order_and_orientation(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (5, 7, 3)).astype(np.uint16)
    cv2.imwritemulti(str(tmp_path / "a.tif"), [values[..., ::-1], values[::-1, :, ::-1]])
    assert np.array_equal(read_image(tmp_path / "a.tif", bits=12), values >> 4)
    assert np.array_equal(decode_image((tmp_path / "a.tif").read_bytes(), ReadOptions(bits=12)), values >> 4)
    assert np.array_equal(read_image(tmp_path / "a.tif/1", bits=12), values[::-1] >> 4)
    data = cv2.imencode(".tif", values[..., ::-1])[1].tobytes()
    place = data.index(struct.pack("<HHI", 339, 3, 3))  # the sample format has a default
    data = data[:place] + struct.pack("<HHII", 274, 3, 1, 6) + data[place + 12 :]
    assert np.array_equal(decode_image(data, ReadOptions(bits=12)), values >> 4)
    assert np.array_equal(decode_image(data, ReadOptions(exif="apply", bits=12)), turned(values >> 4, 6))


def test_signed_values_of_eight_bits(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 7)).astype(np.uint8)
    signed = TiffImagePlugin.ImageFileDirectory_v2()
    signed[339] = 2
    path = saved(tmp_path, Image.fromarray(values >> 1), ".tif", tiffinfo=signed)
    assert np.array_equal(read_image(path)[..., 0], values >> 1 << 1) and decoded(path).bits == 0
    with pytest.raises(ValueError, match="span -128 to 127; save it with 8 or 16 bits from 0 on"):
        read_image(saved(tmp_path, Image.fromarray(np.array([[128, 127]], np.uint8)), ".tif", tiffinfo=signed))


def test_an_animation_of_wide_colors_is_refused() -> None:
    still = cv2.imencode(".png", np.full((5, 7, 3), 4095, np.uint16))[1].tobytes()
    control = b"acTL" + struct.pack(">II", 1, 0)
    place = still.index(b"IDAT") - 4
    moving = still[:place] + struct.pack(">I", 8) + control + struct.pack(">I", zlib.crc32(control)) + still[place:]
    assert (decode_image(still, ReadOptions(bits=12)) == 255).all()
    with pytest.raises(ValueError, match="colors of 16 bits are in an animation; save each frame"):
        decode_image(moving, ReadOptions(bits=12))


def test_an_unusual_tiff_or_jpeg_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.fromarray(RGB[..., 0]), ".tif")
    place = path.read_bytes().index(struct.pack("<HHI", 258, 3, 1)) + 8
    path.write_bytes(path.read_bytes()[:place] + b"\x0a" + path.read_bytes()[place + 1 :])
    with pytest.raises(ValueError, match=r"image.tif is a TIFF of an unusual kind .*; save it again with 8 or 16 bits"):
        read_image(path)
    path = saved(tmp_path, Image.fromarray(RGB[..., 0]), ".jpg")
    path.write_bytes(path.read_bytes().replace(b"\xff\xc0\0\x0b\x08", b"\xff\xc1\0\x0b\x0c"))  # of 12 bits
    with pytest.raises(ValueError, match=r"image.jpg is a JPEG of an unusual kind"):
        read_image(path)


def test_wide_colors_in_separate_planes_are_refused(tmp_path: Path) -> None:
    data = cv2.imencode(".tif", np.zeros((5, 7, 3), np.uint16))[1].tobytes()
    place = data.index(struct.pack("<HHI", 284, 3, 1)) + 8
    with pytest.raises(ValueError, match="separate planes; save it with interleaved colors"):
        decode_image(data[:place] + b"\2" + data[place + 1 :])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((4, 4), np.float32), r"floating-point.*save it with 8 or 16 bits"),
        (np.full((4, 4), 70000, np.int32), "span 70000 to 70000; save it with 8 or 16 bits"),
        (np.full((4, 4), -5, np.int32), "span -5 to -5"),
    ],
)
def test_values_without_a_range_are_refused(tmp_path: Path, values: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_image(saved(tmp_path, Image.fromarray(values), ".tif"))


def test_cmyk_of_adobe_is_inverted(tmp_path: Path) -> None:
    ink = Image.merge("CMYK", [Image.new("L", (16, 16), value) for value in (0, 255, 255, 0)])
    image = read_image(saved(tmp_path, ink, ".jpg", quality=100))
    assert np.abs(image.astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize("suffix", [".tif", ".gif", ".webp", ".png"])
def test_the_first_of_several_frames(tmp_path: Path, suffix: str) -> None:
    gray = [Image.new("RGB", (6, 5), (value,) * 3) for value in (50, 200)]
    path = saved(tmp_path, gray[0], suffix, save_all=True, append_images=gray[1:])
    assert (read_image(path) == 50).all() and image_size(path) == (5, 6)


def test_one_pixel(tmp_path: Path) -> None:
    for suffix in (".png", ".bmp", ".tif", ".gif", ".ppm", ".jpg"):
        path = saved(tmp_path, Image.new("RGB", (1, 1), (9, 9, 9)), suffix)
        assert read_image(path).tolist() == [[[9, 9, 9]]] and image_size(path) == (1, 1)


def bomb(kind: str) -> bytes:
    """The header of an image of 20000 x 20000 pixels (16383 for WebP) that has hardly any bytes."""
    if kind == "PNG":
        return png(20000, 20000, 8, 0, b"\0" * 100)
    if kind == "WEBP":
        bits = (16382 | 16382 << 14).to_bytes(4, "little")
        return b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8L" + struct.pack("<I", 18) + b"\x2f" + bits + b"\0" * 13
    data = bytearray(KINDS[kind])
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", 20000, 20000)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", 20000, 20000)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", 20000, 20000)
    elif kind == "PPM":
        return b"P6\n20000 20000\n255\n"
    elif kind == "TIFF":
        for tag in (256, 257):
            place = data.index(struct.pack("<HH", tag, 4))
            data[place : place + 12] = struct.pack("<HHII", tag, 4, 1, 20000)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF", "BMP", "PPM"])
def test_decompression_bombs_are_refused_by_their_header(tmp_path: Path, kind: str) -> None:
    path, before = tmp_path / "bomb", Image.MAX_IMAGE_PIXELS
    path.write_bytes(bomb(kind))
    for read in (read_image, image_size):
        with pytest.raises(ValueError, match=r"bomb .*data.max_pixels"):
            read(path)
    if kind != "WEBP":
        assert image_size(path, ReadOptions(max_pixels=4 * 10**8)) == (20000, 20000)
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_is_the_users_and_not_the_librarys(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "image"
    path.write_bytes(KINDS[kind])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    for read in (decoded, image_size):
        read(path, ReadOptions(max_pixels=24 * 20))
        with pytest.raises(ValueError, match=r"image is .*data.max_pixels.* higher"):
            read(path, ReadOptions(max_pixels=24 * 20 - 1))
    assert Image.MAX_IMAGE_PIXELS == 100


def test_threads_leave_the_librarys_limit_as_it_was(tmp_path: Path) -> None:
    before, path = Image.MAX_IMAGE_PIXELS, tmp_path / "image"
    path.write_bytes(KINDS["TIFF"])
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: read_image(path, max_pixels=10**9 + i), range(200)))
    assert before == Image.MAX_IMAGE_PIXELS


def test_usual_images_take_the_fast_decoder() -> None:
    fast = {kind for kind, data in KINDS.items() if read_header(BytesIO(data))}
    assert fast == {"JPEG", "JPEG progressive", "JPEG thumbnail", "PNG", "PNG exif"}


def test_other_formats_of_the_library_stay_closed(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n")
    with pytest.raises(ValueError, match="is not an image"):
        read_image(path)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back so early")
def test_memory_of_an_image_is_used_for_the_next() -> None:
    data = cv2.imencode(".jpg", np.zeros((480, 640, 3), np.uint8))[1].tobytes()
    decode_image(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        decode_image(data)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 20 * 225 / 2, "each image touches its 225 pages for the first time"


def test_list_images(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "b/10.jpg", "a.tif", ".hidden/x.png", "b/._2.png", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "none").mkdir()
    assert [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path)] == ["a.tif", "b/2.PNG", "b/10.jpg"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        list_images(tmp_path / "c")
    with pytest.raises(FileNotFoundError, match="is a file, not a folder"):
        list_images(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=r"holds no image; looked below it for .png"):
        list_images(tmp_path / "none")


@pytest.mark.parametrize("name", ["mirror-mouse", "dlc-openfield", "fly-wing", "glue-tubes", "ultrasound-tongue"])
def test_real_images_equal_those_of_pillow(data_root: Path, name: str) -> None:
    paths = list_images(data_root / "keypoints" / name)
    for path in paths[:: max(1, len(paths) // 3)]:
        image = read_image(path, exif="error")
        with Image.open(path) as canvas:
            assert np.array_equal(image, np.asarray(canvas.convert("RGB")))
        assert image.shape == (*image_size(path), 3) and image.std() > 5
