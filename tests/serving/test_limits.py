"""Bodies that are too large, damaged or hostile get one clear error and leave nothing behind."""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest

from serving.conftest import LIMITS, Teller, encoded, until


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A PNG with a size in its header and any data."""
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(part)) + name + part + struct.pack(">I", zlib.crc32(name + part)) for name, part in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def webp(width: int, height: int) -> bytes:
    canvas = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)


HOSTILE = {
    "nothing": (b"", 400, "body is empty"),
    "a text": (b"hello", 415, "not a PNG, JPEG, WebP or BMP"),
    "JSON": (b'{"image": "aGVsbG8="}', 415, "send an image's bytes"),
    "a pickle": (b"\x80\x04cos\nsystem\n(S'true'\ntR.", 415, "not a PNG"),
    "a GIF": (encoded(5, 5, "GIF"), 415, "not a PNG"),
    "a TIFF": (encoded(5, 5, "TIFF"), 415, "not a PNG"),
    "an EPS, which Pillow gives to a program": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 5\n", 415, "not a PNG"),
    "a signature alone": (b"\x89PNG\r\n\x1a\n", 422, "cannot be decoded"),
    "half a PNG": (encoded(50, 50)[:60], 422, "truncated"),
    "half a JPEG": (encoded(50, 50, "JPEG")[:-40], 422, "cannot be decoded"),
    "half a WebP": (encoded(50, 50, "WEBP", lossless=True)[:-10], 422, "cannot be decoded"),
    "half a BMP": (encoded(50, 50, "BMP")[:-1000], 422, "cannot be decoded"),
    "a PNG of noise": (png(9, 9, b"noise" * 9), 422, "cannot be decoded"),
    "a PNG with no pixels in it": (png(9, 9, zlib.compress(b"")), 422, "cannot be decoded"),
    "a bomb": (
        png(100, 101, zlib.compress(bytes(101 * 301))),
        413,
        "100 pixels wide and 101 high, more than max_pixels=10000",
    ),
    "the largest PNG": (png(2**31 - 1, 2**31 - 1), 413, "more than max_pixels"),
    "a large WebP": (encoded(101, 100, "WEBP"), 413, "100 pixels wide and 101 high"),
    "a WebP that is all header": (webp(16383, 16383), 422, "cannot be decoded"),
    "the largest BMP": (bmp(2**31 - 1, 2**31 - 1), 413, "more than max_pixels"),
    "a PNG without a side": (png(0, 5), 422, "cannot be decoded"),
    "too many bytes": (bytes(50_001), 413, "max_bytes=50000"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused(post, teller: Teller, name: str):
    body, status, message = HOSTILE[name]
    response = post(body)
    assert response.status_code == status, response.text
    assert message in response.json()["error"] and set(response.json()) == {"error"}
    assert not any(word in response.text for word in ("0x", "Traceback", "/", "data.")[: 2 if status == 415 else 4])
    assert teller.calls == []


def test_a_body_of_unknown_length_is_cut_off(post):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 10_000
            yield bytes(10_000)

    assert post(endless()).status_code == 413
    assert sent <= 120_000  # some more is read, because a client that is still sending would not see the error


@pytest.mark.parametrize("length", ["99999999999999999999999999", "50001"])
def test_a_body_whose_stated_length_is_too_large_is_refused_at_once(post, length: str):
    image = encoded(9, 9)

    async def short():
        yield image

    assert post(short(), headers={"content-length": length}).status_code == 413
    assert post(short(), headers={"content-length": str(len(image))}).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        "box=", "box=1,2,3", "box=1,2,3,4,5", "box=a,b,c,d", "box=nan,0,5,5", "box=0,0,inf,5", "box=-1e39,0,5,5",
        "box=5,5,5,9", "box=9,9,5,5", "box=16777216,0,16777217,5", "boxes=1,2,3,4", "x=1", "box=1,2,3,4&exif=ignore",
        "box=" + "9" * 5000,
    ],
)  # fmt: skip
def test_an_invalid_box_is_refused(post, query: str):
    model = Teller({"padding": 1.25})
    response = post(encoded(9, 9), f"?{query}", model)
    assert response.status_code == 422, response.text
    assert "box" in response.json()["error"] and len(response.text) < 500
    assert model.calls == []


def test_boxes_may_exceed_the_image(post):
    assert post(encoded(9, 9), "?box=-5,-5.5,100,100", Teller({"padding": 1.25})).status_code == 200


@pytest.mark.parametrize(
    ("boxes", "crops", "status", "message"),
    [
        (4, {"padding": 1.25}, 413, "max_boxes=3"),
        (1, None, 422, "teller.onnx was trained on whole images"),
    ],
)
def test_boxes_beyond_the_limit_or_for_whole_images_are_refused(
    post, boxes: int, crops: dict | None, status: int, message: str
):
    response = post(encoded(9, 9), "?" + "&".join(["box=1,2,3,4"] * boxes), Teller(crops))
    assert response.status_code == status and message in response.json()["error"]


def test_a_request_beyond_the_limit_is_asked_to_come_back(talk, teller: Teller):
    async def conversation(client, service):
        teller.gate.clear()
        tasks = []
        for i in range(2):
            tasks.append(asyncio.create_task(client.post("/predict", content=encoded(50, 100))))
            await until(lambda i=i: service.line.used == 5000 * (i + 1))
        full = await client.post("/predict", content=encoded(50, 100))
        teller.gate.set()
        done = await asyncio.gather(*tasks)
        return full, done, await client.post("/predict", content=encoded(50, 100))

    full, done, after = talk(conversation, queue_size=2)
    assert full.status_code == 503 and full.headers["retry-after"] == "1" and "queue_size=2" in full.json()["error"]
    assert [response.status_code for response in [*done, after]] == [200, 200, 200]


def test_an_image_waits_for_the_room_of_its_pixels(talk, teller: Teller):
    async def conversation(client, service):
        teller.gate.clear()
        first = asyncio.create_task(client.post("/predict", content=encoded(90, 100)))
        await until(lambda: service.line.used == 9000)
        second = asyncio.create_task(client.post("/predict", content=encoded(50, 100)))
        await until(lambda: len(service.line.waiting) == 1)
        teller.gate.set()
        return await asyncio.gather(first, second)

    first, second = talk(conversation, queue_pixels=10_000)
    assert (first.json()["size"], second.json()["size"]) == ([90, 100], [50, 100])
    assert teller.calls == [1, 1]


def test_a_body_that_does_not_arrive_in_time_is_refused(post):
    async def slow():
        yield encoded(9, 9)[:20]
        await asyncio.sleep(60)

    response = post(slow(), body_s=0.05)
    assert response.status_code == 408 and "body_s=0.05" in response.json()["error"]


def test_refused_requests_free_their_places(talk):
    async def conversation(client, service):
        for body, _, _ in HOSTILE.values():
            await client.post("/predict", content=body)
        return (service.line.requests, service.line.used), await client.post("/predict", content=encoded(9, 9))

    used, after = talk(conversation)
    assert used == (0, 0) and after.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/predict", 405), ("POST", "/", 405), ("GET", "/a", 404), ("POST", "/predict/", 404)],
)
def test_errors_of_other_paths_list_the_existing_ones(talk, method: str, path: str, status: int):
    response = talk(lambda client, _: client.request(method, path))
    assert response.status_code == status
    assert "there are POST /predict and GET /health, /metrics, /model" in response.json()["error"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("batch_size", 0, r"batch_size\s+Input should be greater than or equal to 1"),
        ("batch_size", 2.5, r"batch_size\s+Input should be a valid integer"),
        ("queue_size", True, r"queue_size\s+Input should be a valid integer"),
        ("wait_ms", -1, r"wait_ms\s+Input should be greater than or equal to 0"),
        ("timeout_s", float("nan"), r"timeout_s\s+Input should be a finite number"),
        ("max_bytes", "many", r"max_bytes\s+Input should be a valid integer"),
        ("exif", "turn", r"exif\s+Input should be 'apply', 'ignore' or 'error'"),
        ("cors", ["my.site"], "an origin is https://HOST"),
        ("queue_pixels", 9_999, "queue_pixels=9999 is less than max_pixels=10000"),
    ],
)
def test_settings_that_refuse_every_request_are_an_error(key: str, value, message: str):
    from softpoint.serving.settings import Settings

    with pytest.raises(ValueError, match=message):
        Settings(**LIMITS | {key: value})
