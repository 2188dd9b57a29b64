"""Image and video files that a stranger might send, by the name of the reader in benchmarks/mutation_seeds.py.

Each claims more than it holds, holds more than it claims, refers to itself or to files elsewhere, or is of another
format than its name.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 30_000  # pixels


def hostile_images(secret: Path) -> dict[str, list[bytes]]:
    """Return hostile images of each kind; `secret` is a file that none of them may open."""
    exif = [b"Exif\0\0" + block for block in (_exif_loop(), _exif_bomb(), _exif_claim())]
    return {
        "image.png": [
            *_foreign(secret),
            _png(SIDE, SIDE, zlib.compress(bytes(1000))),
            _png(9000, 9000, zlib.compress(bytes(9001 * 9000 * 3), 9)),
            _png(4, 4, zlib.compress(bytes(1 << 28), 9)),
            _png(4, 4, b"", (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28), 9))),
            _png(4, 4, b"", (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 27), 9))),
            _png(4, 4, b"", (b"acTL", struct.pack(">II", 1 << 31, 0)), (b"fcTL", bytes(26))),
            _png(4, 4, b"", *((b"tEXt", b"k%d\0v" % number) for number in range(20_000))),
            *(_png(32, 24, zlib.compress(bytes(97 * 24)), (b"eXIf", block[6:])) for block in exif),
        ],
        "image.jpg": [
            *(_jpeg(_segment(0xE1, block)) for block in exif),
            _jpeg(_segment(0xE2, b"MPF\0" + _exif_loop())),
            _jpeg(*(_segment(0xE2, b"ICC_PROFILE\0%c\xff" % number + bytes(60_000)) for number in range(1, 100))),
            _jpeg(*(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _xml_bomb()) for _ in range(3))),
            _jpeg().replace(struct.pack(">HH", 24, 32), struct.pack(">HH", 0xFFFF, 0xFFFF)),
            _jpeg().replace(struct.pack(">HH", 24, 32), struct.pack(">HH", 0, 32)),
        ],
        "image.tif": [
            _tiff({256: 4, 257: 4, 273: 8, 277: 1, 279: 16}, following=8),
            _tiff({256: SIDE, 257: SIDE, 258: 8, 259: 8, 262: 1, 273: 8, 277: 1, 278: SIDE, 279: 1 << 16}),
            _tiff({256: 64, 257: 64, 258: 8, 259: 1, 322: 1 << 30, 323: 1 << 30, 324: 8, 325: 16}),
            _tiff({256: 64, 257: 64, 258: 8, 259: 7, 262: 6, 273: 8, 277: 60_000, 278: 64, 279: 100}),
            _tiff({256: 4, 257: 4, 330: 8, 34665: 8, 34853: 8, 40965: 8}),
            b"II+\0\x08\0\0\0" + struct.pack("<Q", 16) + struct.pack("<Q", 1 << 60),
        ],
        "image.gif": [
            b"GIF89a" + struct.pack("<HHBBB", 0xFFFF, 0xFFFF, 0, 0, 0) + _gif_frame(1, 1) + b";",
            b"GIF89a" + struct.pack("<HHBBB", 4000, 4000, 0, 0, 0) + _gif_frame(4000, 4000) * 3000 + b";",
            b"GIF89a" + struct.pack("<HHBBB", 4, 4, 0, 0, 0) + b"!\xff\x0bNETSCAPE2.0" + b"\xff" * 60_000,
        ],
        "image.webp": [
            b"RIFF\xff\xff\xff\xffWEBPVP8X\x0a\0\0\0\x1e\0\0\0" + b"\xff\xff\xff" * 2,
            b"RIFF\x1c\0\0\0WEBPVP8L\x10\0\0\0\x2f" + b"\xff" * 4 + bytes(11),
        ],
        "image.bmp": [
            _bmp(SIDE, SIDE, 1, b"\0\1" * 9),
            _bmp(16_000, 6000, 1, b"\xff\1" * 100_000),
            _bmp(-(1 << 31), -(1 << 31), 0, b""),
        ],
        "image.ppm": [
            b"P6 99999999999 99999999999 255\n",
            b"P3 5000 5000 255\n" + b"1 " * 3000,
            b"P5 1 1 " + b"#" * 500_000,
        ],
        "image.jp2": [_jp2(SIDE, SIDE, 1), _jp2(4, 4, 16_384), _jp2(0xFFFFFFFF, 0xFFFFFFFF, 3)],
        "video.mp4": _videos(secret),
    }


def _foreign(secret: Path) -> list[bytes]:
    """Return files of other formats, which are named as images."""
    box = b"\0\0\0\x1cftyp%s\0\0\0\0mif1%s\0\0\0\0"
    return [
        b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file://%s">]><svg xmlns="http://www.w3.org/2000/svg" '
        b'width="9" height="9"><image href="file://%s"/><text>&x;</text></svg>' % (bytes(secret), bytes(secret)),
        *(box % (brand, brand) + bytes(500) for brand in (b"avif", b"heic")),
        _saved("AVIF"),
        _saved("ICO"),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(canary) (w) file closefile\n",
        b"%PDF-1.4\n1 0 obj<</OpenAction<</S/Launch/F(sh)>>>>endobj\n",
        b"push graphic-context\nviewbox 0 0 9 9\nimage over 0,0 0,0 'msl:%s'\npop graphic-context\n" % bytes(secret),
        b"#define a_width 9\n#define a_height 9\nstatic char a_bits[] = {\n0x00 };\n",
        b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 56, SIDE, SIDE, 8, 3) + bytes(100),
        b"#EXTM3U\n#EXTINF:1,\nfile://%s\n" % bytes(secret),
    ]


def _saved(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(file, kind)
    return file.getvalue()


def _png(width: int, height: int, pixels: bytes, *parts: tuple[bytes, bytes]) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), *parts, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def _jpeg(*segments: bytes) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((24, 32, 3), np.uint8)).save(file, "JPEG")
    return file.getvalue()[:2] + b"".join(segments) + file.getvalue()[2:]


def _segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content[:65_000]) + 2) + content[:65_000]


def _exif_loop() -> bytes:
    """Return EXIF of a directory whose parts and follower are itself."""
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, 8) for tag in (0x8769, 0x8825, 0xA005, 0x014A))
    return b"II*\0\x08\0\0\0\4\0" + entries + struct.pack("<I", 8)


def _exif_bomb() -> bytes:
    """Return EXIF of thousands of directories, each of entries that share all bytes."""
    entries = b"".join(struct.pack("<HHII", 0x9286, 7, 50_000, 8) for _ in range(4000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 4000) + entries + bytes(4)


def _exif_claim() -> bytes:
    """Return EXIF whose orientation has four billion values."""
    return b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x0112, 5, 0xFFFFFFFF, 8) + bytes(4)


def _xml_bomb() -> bytes:
    names = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    return f'<!DOCTYPE a [<!ENTITY e0 "x">{names}]><a>&e9;</a>'.encode()


def _tiff(fields: dict[int, int], following: int = 0) -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(fields)) + entries + struct.pack("<I", following) + bytes(70_000)


def _gif_frame(width: int, height: int) -> bytes:
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\2\2\x4c\1\0"


def _bmp(width: int, height: int, compression: int, data: bytes) -> bytes:
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", 1078 + len(data), 0, 0, 1078) + head + bytes(1024) + data


def _jp2(width: int, height: int, components: int) -> bytes:
    """Return the bare stream of a JPEG 2000 that claims a size."""
    size = struct.pack(">HIIIIIIIIH", 0, width, height, 0, 0, width, height, 0, 0, components) + b"\7\1\1" * components
    coding = b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0\1"
    return b"\xff\x4f\xff\x51" + struct.pack(">H", (len(size) + 2) & 0xFFFF) + size + coding + b"\xff\xd9"


def _videos(secret: Path) -> list[bytes]:
    """Return playlists of files elsewhere, and streams of absurd sizes, rates and counts."""
    path = bytes(secret)
    boxes = [_movie(*numbers) for numbers in ((65_535, 65_535, 1, 1), (32, 24, 0, 1), (32, 24, 1, 100_000_000))]
    return [
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://%s\n#EXT-X-ENDLIST\n" % path,
        b"ffconcat version 1.0\nfile '%s'\n" % path,
        b"v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        b"RTSPtextRTSP://127.0.0.1:9/a\r\n",
        b"[Reference]\nRef1=file://%s\n" % path,
        b"YUV4MPEG2 W99999 H99999 F1:1 Ip A1:1 C420\nFRAME\n",
        b"YUV4MPEG2 W32 H24 F1000000000:1 Ip A0:0 C420\n" + (b"FRAME\n" + bytes(32 * 24 * 3 // 2)) * 3,
        b"GIF89a" + struct.pack("<HHBBB", 0xFFFF, 0xFFFF, 0, 0, 0) + _gif_frame(0xFFFF, 0xFFFF) * 9 + b";",
        b"DKIF\0\0\x20\0VP80" + struct.pack("<HHIII", 0xFFFF, 0xFFFF, 0, 0, 0xFFFFFFFF) + bytes(20),
        b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xfe" + bytes(200),
        *boxes,
    ]


def _movie(width: int, height: int, time_scale: int, count: int) -> bytes:
    """Return an MP4 whose table of samples is one line that stands for `count` of them."""

    def box(kind: bytes, *content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(b"".join(content))) + kind + b"".join(content)

    entry = bytes(6) + struct.pack(">H", 1) + bytes(16) + struct.pack(">HH", width, height) + bytes(50)
    table = box(
        b"stbl",
        box(b"stsd", struct.pack(">II", 0, 1), box(b"mp4v", entry)),
        box(b"stts", struct.pack(">IIII", 0, 1, count, 1)),
        box(b"stsc", struct.pack(">IIIII", 0, 1, 1, count, 1)),
        box(b"stsz", struct.pack(">III", 0, 1, count)),
        box(b"stco", struct.pack(">III", 0, 1, 40)),
    )
    media = box(b"mdhd", struct.pack(">IIIIII", 0, 0, 0, time_scale, 0xFFFFFFFF, 0))
    handler = box(b"hdlr", struct.pack(">II4s", 0, 0, b"vide"), bytes(13))
    track = box(b"trak", box(b"mdia", media, handler, box(b"minf", box(b"vmhd", bytes(12)), table)))
    head = box(b"mvhd", struct.pack(">IIIII", 0, 0, 0, time_scale, 1), bytes(80))
    return box(b"ftyp", b"isom\0\0\0\0isom") + box(b"mdat", bytes(100)) + box(b"moov", head, track)
