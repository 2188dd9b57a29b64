"""A model whose results describe its input, and a service that is called without a network."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from softpoint.runtime import ellipse_axes, in_plane

LIMITS: dict[str, Any] = {
    "batch_size": 4, "wait_ms": 0, "queue_size": 8, "queue_pixels": 100_000, "timeout_s": 60, "max_bytes": 50_000,
    "max_pixels": 10_000, "max_boxes": 3, "exif": "apply",
    "bits": None, "queue_bytes": 400_000, "max_connections": 9, "header_s": 9, "body_s": 60, "decoders": 0,
    "decode_s": 60, "cors": ["https://my.site"],
}  # fmt: skip


class Teller:
    """Returns results as softpoint.runtime.Model does: `corner` is the last pixel, `color` the means of red and blue.

    With boxes `color` is the box's left and top. It waits for `gate`, which `waiting` shows, and keeps the number of
    rows per call.
    """

    def __init__(self, crops: dict | None = None) -> None:
        self.path, self.names = Path("folder/teller.onnx"), ["corner", "color"]
        self.metadata = {"keypoints": self.names, "size": [8, 8], "crops": crops, "channels": 3, "faults": []}
        self.metadata["homography"] = np.diag([0.5, 0.25, 1.0]).tolist()
        self.metadata["metrics"] = {"epe": float("nan")}
        self.finds_subjects = False
        self.fixed_size, self.channels, self.region_levels = None, 3, [0.9]
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = False

    def regions(self, prediction: Any, level: float) -> np.ndarray:
        assert level == 0.9
        return ellipse_axes(prediction["covariance"], np.array([2.0, np.nan]))

    def millimeters(self, prediction: Any) -> tuple[np.ndarray, np.ndarray]:
        return in_plane(self.metadata["homography"], prediction["keypoints"], prediction["covariance"])

    def __call__(self, images: Any, boxes: Any = None) -> dict[str, np.ndarray]:
        images = [images] if isinstance(images, np.ndarray) else images
        self.waiting = not self.gate.is_set()
        assert self.gate.wait(60)
        self.waiting = False
        self.calls.append(len(images))
        if any(image.shape[:2] == (13, 13) for image in images):
            raise RuntimeError("unlucky")
        if any(image.shape[:2] == (12, 12) for image in images):
            raise ValueError(f"{self.path} was not made for that")
        corners = [[image.shape[1] - 1, image.shape[0] - 1] for image in images]
        colors = [image.mean((0, 1))[[0, 2]] for image in images] if boxes is None else np.asarray(boxes)[:, :2]
        count = len(images)
        return {
            "keypoints": np.stack([corners, colors], 1).astype(np.float32),
            "confidence": np.full((count, 2), [0.75, np.nan], np.float32),
            "covariance": np.tile(np.float32([[4, 1], [1, 2]]), (count, 2, 1, 1)),
        }


def encoded(
    height: int, width: int, kind: str = "PNG", color: tuple[int, int, int] = (255, 0, 102), **options: Any
) -> bytes:
    """An image of one color, as a file's bytes."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), color).save(file, kind, **options)
    return file.getvalue()


Talk = Callable[..., Any]


@pytest.fixture
def teller() -> Teller:
    return Teller()


@pytest.fixture
def talk(teller: Teller) -> Talk:
    """Run `conversation(client, service)` with a service of other limits and return its result."""
    pytest.importorskip("fastapi", reason="serving needs its libraries: pip install 'softpoint[serve]'")
    httpx = pytest.importorskip("httpx", reason="requests are made by httpx")
    from softpoint.serving.app import Service, create_app
    from softpoint.serving.settings import Settings

    def talking(conversation: Callable[..., Awaitable[Any]], model: Any = None, **limits: Any) -> Any:
        async def whole() -> Any:
            service = Service(model or teller, Settings(**LIMITS | limits))
            app = create_app(service)
            async with app.router.lifespan_context(app):
                transport = httpx.ASGITransport(app)
                async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
                    return await conversation(client, service)

        return asyncio.run(whole())

    return talking


@pytest.fixture
def post(talk: Talk) -> Callable[..., Any]:
    """The response to one body."""

    def posting(body: Any, query: str = "", model: Any = None, headers: Any = None, **limits: Any) -> Any:
        return talk(lambda client, _: client.post(f"/predict{query}", content=body, headers=headers), model, **limits)

    return posting


async def until(condition: Callable[[], bool]) -> None:
    """Let other tasks run until a condition holds; the time limit of the test ends it otherwise."""
    while not condition():
        await asyncio.sleep(0.001)


TELLER = """
<ir_version: 8, opset_import: ["" : 18]>
teller (uint8[B, H, W, 3] images)
=> (float[B, 2, 2] keypoints, float[B, 2] confidence, float[B, 2, 2, 2] covariance)
<int64[2] rows_columns = {1, 2}, int64[2] red_blue = {0, 2}, int64[2] width_height = {2, 1}, int64[1] second = {1},
 int64[1] last = {-1}, float zero = {0}, float unit = {1}, float half = {0.5}, float[2, 2] spread = {4, 1, 1, 2}>
{
    levels = Cast <to = 1> (images)
    means = ReduceMean <keepdims = 0> (levels, rows_columns)
    two = Gather <axis = 1> (means, red_blue)
    color = Unsqueeze (two, second)
    shape = Shape (images)
    size = Gather <axis = 0> (shape, width_height)
    size_float = Cast <to = 1> (size)
    corner = Sub (size_float, unit)
    blank = Mul (color, zero)
    corners = Add (blank, corner)
    keypoints = Concat <axis = 1> (corners, color)
    zeros = Mul (keypoints, zero)
    point_zeros = ReduceMean <keepdims = 0> (zeros, last)
    confidence = Add (point_zeros, half)
    tall = Unsqueeze (zeros, last)
    covariance = Add (tall, spread)
}
"""


@pytest.fixture(scope="session")
def teller_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx file that computes what a Teller of whole images does, with a confidence of 0.5."""
    onnx = pytest.importorskip("onnx", reason='a file is made by onnx: pip install -e ".[export]"')
    pytest.importorskip("onnxruntime", reason="exported models run on onnxruntime")
    model = onnx.parser.parse_model(TELLER)
    onnx.checker.check_model(model)
    metadata = {"format": 1, "keypoints": ["corner", "color"], "size": [8, 8], "crops": None}
    model.metadata_props.add(key="softpoint", value=json.dumps(metadata))
    path = tmp_path_factory.mktemp("teller") / "teller.onnx"
    onnx.save_model(model, str(path))
    return path
