"""Images of many parts, or of an expensive kind, are refused before they are decoded, and usual ones are not."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from softpoint.images import costs
from softpoint.images.containers import Pages
from softpoint.images.decode import decode_image, decoded_size, read_image

NOISE = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)


def saved(kind: str, mode: str = "RGB", **options: object) -> bytes:
    file = BytesIO()
    Image.fromarray(NOISE).convert(mode).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


def with_scans(jpeg: bytes, count: int) -> bytes:
    """Repeat the last scan of a JPEG."""
    start = jpeg.rindex(b"\xff\xda")
    return jpeg[:-2] + jpeg[start:-2] * count + b"\xff\xd9"


@pytest.mark.parametrize("mode", ["RGB", "CMYK"])  # read by OpenCV, and by Pillow
def test_scans_of_a_jpeg_are_counted(mode: str) -> None:
    jpeg = saved("JPEG", mode, progressive=True)
    assert decode_image(with_scans(jpeg, costs.MAX_SCANS - 20)).shape == NOISE.shape
    with pytest.raises(ValueError, match="more than 50 scans"):
        decode_image(with_scans(jpeg, costs.MAX_SCANS))


def test_scans_are_counted_behind_a_false_end() -> None:
    hidden = with_scans(saved("JPEG", progressive=True), costs.MAX_SCANS)
    start = hidden.rindex(b"\xff\xda")
    comment = b"\xff\xfe\0\6\xff\xd9\xff\xda"  # holds the markers of an end and of a scan, and is neither
    with pytest.raises(ValueError, match="more than 50 scans"):
        decode_image(hidden[:200] + hidden[200:start].replace(b"\xff\xda", comment + b"\xff\xda", 1) + hidden[start:])


def test_bytes_after_the_end_are_no_scans() -> None:
    """As the film that some phones append, in which any bytes occur."""
    costs.check_jpeg(saved("JPEG") + b"\xff\xda\0\2" * 1000)
    assert costs.most_scans(b"\xff\xda\0\2" * 1000, 0) == 1000


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("chunk_of", [(b"zTXt", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")])
def test_compressed_texts_of_a_png_are_bounded(chunk_of: tuple[bytes, bytes]) -> None:
    text = chunk(chunk_of[0], chunk_of[1] + bytes(100_000))
    png = saved("PNG")
    assert np.array_equal(decode_image(png[:33] + text * 2 + png[33:]), NOISE)
    with pytest.raises(ValueError, match="compressed texts have more than"):
        decode_image(png[:33] + text * 3 + png[33:])
    plain = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + bytes(400_000))
    assert np.array_equal(decode_image(png[:33] + plain + png[33:]), NOISE)


FRAME = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\2\2\x44\1\0"
GIF = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + bytes(6)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (GIF + b"!\xfe\1a\0" * 25_000 + FRAME + b";", "bytes of comments"),
        (GIF + b"!\xfe" + (b"\xff" + bytes(255)) * 300 + b"\0" + FRAME + b";", "bytes of comments"),
        (GIF + FRAME * 400_000 + b";", "1000000 parts"),
        (b"P6 #" + b"a" * 100_000 + b"\n2 2 255\n" + bytes(12), "its header"),
        (b"P3 2000 1000 255\n" + b"0 " * 6_000_000, "costs 100 times"),
        (b"P2 9 9 255\n" + b"#\n" * 600_000, "far more than its 81 pixels"),
        (saved("JPEG")[:2] + b"\xff\xfe\0\2" * 1001 + saved("JPEG")[2:], "1000 parts"),
        (saved("JPEG")[:2] + b"\xff" * 20_000 + saved("JPEG")[2:], "1000 parts"),
    ],
)  # fmt: skip
def test_slow_files_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_image(data)


@pytest.mark.parametrize(
    "data", [GIF + b"!\xfe\5hello\0" + FRAME * 3 + b";", b"P4 800 800\n" + bytes(80_000), b"P6 #a\n1 1 255\nabc"]
)
def test_usual_files_are_not(data: bytes) -> None:
    assert decode_image(data).shape[:2] == decoded_size(data)


def tiff(pages: list[tuple[int, int]]) -> bytes:
    """A TIFF with the fields `strips` and the place of the next page, of which each page has an offset and a count."""
    data = b"II*\0" + struct.pack("<I", 8)
    for number, (strips, following) in enumerate(pages):
        fields = [(256, 4, 1, 8), (257, 4, 1, 8), (273, 4, strips, 8)]
        after = len(data) + 2 + 12 * len(fields) + 4
        data += struct.pack("<H", 3) + b"".join(struct.pack("<HHII", *field) for field in fields)
        data += struct.pack("<I", following or (after if number + 1 < len(pages) else 0))
    return data


def test_pages_of_a_tiff_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "_TIFF_PAGES", 20)
    costs.check_parts(BytesIO(tiff([(1, 8)])))  # a circle, at which Pillow ends too
    costs.check_parts(BytesIO(tiff([(0, 0)] * 19)))
    with pytest.raises(ValueError, match="20 pages or more"):
        costs.check_parts(BytesIO(tiff([(0, 0)] * 20)))


@pytest.mark.parametrize("pages", [[(200_001, 0)], [(150_000, 0)] * 2])
def test_the_strips_of_a_tiff_are_counted(pages: list[tuple[int, int]]) -> None:
    with pytest.raises(ValueError, match="more than 200000 strips"):
        costs.check_parts(BytesIO(tiff(pages)))


def test_stacks_of_both_orders_and_sizes_pass(tmp_path: Path) -> None:
    frames = [Image.fromarray(NOISE + number) for number in range(3)]
    for big in (False, True):
        frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:], big_tiff=big)
        assert len(Pages(tmp_path / "a.tif", 10_000)) == 3
    costs.check_parts(BytesIO(b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHII", 273, 4, 9, 8) + bytes(4)))
    with pytest.raises(ValueError, match="strips"):
        costs.check_parts(BytesIO(b"MM\0*\0\0\0\x08\0\1" + struct.pack(">HHII", 273, 4, 200_001, 8) + bytes(4)))


def test_an_expensive_format_has_a_lower_limit_which_max_pixels_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.webp"
    path.write_bytes(saved("WEBP", lossless=True))
    monkeypatch.setattr(costs, "MAX_PIXELS", 2000)
    with pytest.raises(ValueError, match=r"30 wide and 40 high; a WEBP .* 2 times .* set data.max_pixels=2400"):
        read_image(path, max_pixels=1500)
    assert np.array_equal(read_image(path, max_pixels=2400), NOISE)
    monkeypatch.setattr(costs, "MAX_PIXELS", 2400)
    assert np.array_equal(read_image(path, max_pixels=1200), NOISE)  # within the default's share
