"""Images in, keypoints out."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.conftest import Teller, encoded
from softpoint.colors import palette, to_hex
from softpoint.runtime import load


@pytest.mark.parametrize(("kind", "close"), [("PNG", 1e-4), ("BMP", 1e-4), ("JPEG", 3), ("WEBP", 3)])
def test_keypoints_are_in_pixels_of_the_image(post, kind: str, close: float):
    answer = post(encoded(30, 40, kind)).json()
    assert answer["size"] == [30, 40]
    corner, color = answer["keypoints"]
    assert corner["name"] == "corner" and [corner["x"], corner["y"]] == [39, 29]
    assert [color["x"], color["y"]] == pytest.approx([255, 102], abs=close)  # red first
    assert corner["millimeters"] == [19.5, 7.25]
    assert corner["covariance"] == [[4, 1], [1, 2]]
    assert corner["region_90"] == pytest.approx([2 * (3 + 2**0.5) ** 0.5, 2 * (3 - 2**0.5) ** 0.5, 22.5])
    assert color["region_90"] == [None, None, None] and "region_50" not in color  # of too few units
    assert corner["confidence"] == 0.75 and color["confidence"] is None  # JSON cannot express not-a-number


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(("exif", "size"), [("apply", [40, 30]), ("ignore", [30, 40])])
def test_an_image_is_rotated_by_its_exif_orientation(post, kind: str, exif: str, size: list[int]):
    tags = Image.Exif()
    tags[0x0112] = 6
    answer = post(encoded(30, 40, kind, exif=tags), exif=exif).json()
    assert answer["size"] == size
    assert [answer["keypoints"][0]["x"], answer["keypoints"][0]["y"]] == [size[1] - 1, size[0] - 1]


@pytest.mark.parametrize(
    ("trained", "bits", "level"), [(None, None, 15), (None, 12, 250), (12, None, 250), (12, 16, 15)]
)
def test_wide_values_are_read_by_the_bits_that_they_use(post, trained: int | None, bits: int | None, level: int):
    teller = Teller()
    teller.metadata["bits"] = trained
    file = io.BytesIO()
    Image.fromarray(np.full((30, 40), 4000, np.uint16)).save(file, "PNG")
    _, color = post(file.getvalue(), model=teller, bits=bits).json()["keypoints"]
    assert [color["x"], color["y"]] == [level, level]


def test_each_box_has_its_keypoints(post):
    answer = post(encoded(30, 40), "?box=1,2,11,12&box=3.5,4,20,29", Teller({"padding": 1.25})).json()
    assert answer["size"] == [30, 40]
    assert [subject["box"] for subject in answer["subjects"]] == [[1, 2, 11, 12], [3.5, 4, 20, 29]]
    places = [(subject["keypoints"][1]["x"], subject["keypoints"][1]["y"]) for subject in answer["subjects"]]
    assert places == [(1, 2), (3.5, 4)]


def test_a_model_of_crops_predicts_whole_images_without_boxes(post):
    answer = post(encoded(30, 40), model=Teller({"padding": 1.25})).json()
    assert answer["keypoints"][1]["x"] == 255


class Counter(Teller):
    """Finds a subject in each ten columns of an image, the last one the likeliest."""

    def __init__(self) -> None:
        super().__init__({"padding": 1.25, "boxes": None})
        self.finds_subjects = True

    def __call__(self, images, boxes=None, threshold=None):
        assert boxes is None
        if isinstance(images, np.ndarray):
            return self([images])[0]
        self.calls.append(len(images))
        return [self.found(image.shape[1] // 10) for image in images]

    def found(self, count: int) -> dict[str, np.ndarray]:
        left = 10.0 * np.arange(count, dtype=np.float32)[::-1]
        boxes = np.stack([left, 0 * left, left + 9, 0 * left + 9], 1)
        points = {"keypoints": np.stack([boxes[:, :2], boxes[:, 2:]], 1), "confidence": np.full((count, 2), 0.5)}
        points["covariance"] = np.tile(np.eye(2, dtype=np.float32), (count, 2, 1, 1))
        return {**points, "scores": (1 + left / 10) / 16, "boxes": boxes}


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_model_that_finds_subjects_lists_them_with_score_and_box(post, count: int):
    answer = post(encoded(30, 10 * count + 5), model=Counter()).json()
    assert answer["size"] == [30, 10 * count + 5] and answer.keys() == {"size", "subjects"}
    assert [subject["score"] for subject in answer["subjects"]] == [(count - i) / 16 for i in range(count)]
    for i, subject in enumerate(answer["subjects"]):
        left = 10 * (count - 1 - i)
        assert subject["box"] == [left, 0, left + 9, 9]
        corner, color = subject["keypoints"]
        assert (corner["name"], corner["x"], color["x"]) == ("corner", left, left + 9)
        assert corner["region_90"][:2] == [2, 2] and corner["millimeters"] == [left / 2, 0]


def test_images_of_several_requests_are_given_their_own_subjects(talk):
    model = Counter()

    async def conversation(client, _):
        posts = (client.post("/predict", content=encoded(9, width)) for width in (35, 5, 25, 15))
        return [response.json() for response in await asyncio.gather(*posts)]

    answers = talk(conversation, model, wait_ms=500)
    assert [len(answer["subjects"]) for answer in answers] == [3, 0, 2, 1] and max(model.calls) > 1


def test_a_model_that_finds_subjects_takes_no_box(post):
    response = post(encoded(9, 9), "?box=1,1,5,5", model=Counter())
    assert response.status_code == 422
    assert response.json()["error"] == "teller.onnx finds the subjects itself and takes no box; leave box out"


def test_the_metadata_of_the_model_is_returned(talk):
    metadata = talk(lambda client, _: client.get("/model")).json()
    assert metadata == {
        "keypoints": ["corner", "color"],
        "size": [8, 8],
        "crops": None,
        "homography": [[0.5, 0, 0], [0, 0.25, 0], [0, 0, 1]],
        "channels": 3,
        "faults": [],
        "metrics": {"epe": None},
    }


def test_the_service_is_ready_until_it_stops(talk):
    async def both(client, service):
        before = await client.get("/health")
        await service.batcher.stop()
        return before, await client.get("/health"), await client.post("/predict", content=encoded(5, 5))

    before, after, late = talk(both)
    assert before.status_code == 200 and before.json() == {"status": "ready", "model": "teller.onnx"}
    assert after.status_code == 503 and after.json()["status"] == "not ready"
    assert late.status_code == 503 and late.headers["retry-after"] == "1"


def test_openapi_describes_every_path(talk):
    paths = talk(lambda client, _: client.get("/openapi.json")).json()["paths"]
    answer = paths["/predict"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    assert answer["subjects"]["items"]["properties"].keys() == {"score", "box", "keypoints"}
    assert set(paths) == {"/predict", "/health", "/metrics", "/model"}
    assert set(paths["/predict"]["post"]["requestBody"]["content"]) == {
        "image/png", "image/jpeg", "image/webp", "image/bmp"
    }  # fmt: skip


def test_the_page_is_its_own_alone_and_pages_of_other_origins_must_be_named(talk):
    async def asked(client, _):
        origins = [{"origin": origin} for origin in ("https://my.site", "https://other.site")]
        return await client.get("/"), *[await client.post("/predict", headers=h, content=b"") for h in origins]

    page, mine, other = talk(asked)
    policy, script = page.headers["content-security-policy"], re.findall("<script>(.*?)</script>", page.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy and len(script) == 1
    assert page.headers["content-type"].startswith("text/html") and "://" not in page.text
    assert (mine.status_code, mine.headers["access-control-allow-origin"]) == (400, "https://my.site")
    colors = " ".join(map(to_hex, palette(2).tolist()))
    assert f'<body data-colors="{colors}">' in page.text
    assert other.status_code == 400 and "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize(("cors", "status"), [(["https://my.site"], 200), (["*"], 400)])
def test_a_named_page_of_the_internet_may_ask_a_server_of_a_private_network(talk, cors: list[str], status: int):
    asks = {"origin": "https://my.site", "access-control-request-method": "POST"}
    asks["access-control-request-private-network"] = "true"
    answer = talk(lambda client, _: client.options("/predict", headers=asks), cors=cors)
    assert answer.status_code == status
    assert ("access-control-allow-private-network" in answer.headers) == (status == 200)


def test_64_clients_at_once_get_the_results_of_the_runtime(talk, teller_file: Path):
    model, rng = load(teller_file), np.random.default_rng(0)
    images = [rng.integers(0, 256, (20 + i % 3, 30, 3), np.uint8) for i in range(64)]

    def png(image: np.ndarray) -> bytes:
        Image.fromarray(image).save(file := io.BytesIO(), "PNG")
        return file.getvalue()

    async def conversation(client, _):
        return await asyncio.gather(*(client.post("/predict", content=png(image)) for image in images))

    responses = talk(conversation, model, queue_size=64, wait_ms=20)
    for image, response in zip(images, responses, strict=True):
        expected = model(image)
        keypoints = response.json()["keypoints"]
        assert np.float32([[point["x"], point["y"]] for point in keypoints]).tolist() == expected["keypoints"].tolist()
        assert np.array_equal([point["covariance"] for point in keypoints], expected["covariance"])
