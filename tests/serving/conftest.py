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

from softpoint.serving import Service, Settings, create_app

LIMITS: dict[str, Any] = {
    "batch_size": 4, "wait_ms": 0, "queue_size": 8, "queue_pixels": 100_000, "timeout_s": 60, "max_bytes": 50_000,
    "max_pixels": 10_000, "max_boxes": 3, "exif": "apply",
}  # fmt: skip


class Teller:
    """Returns results as softpoint.runtime.Model does: `corner` is the last pixel, `color` the means of red and blue.

    With boxes `color` is the box's left and top. It waits for `gate`, which `waiting` shows, and keeps the number of
    rows per call.
    """

    def __init__(self, crops: dict | None = None) -> None:
        self.path, self.names = Path("folder/teller.onnx"), ["corner", "color"]
        self.metadata = {"keypoints": self.names, "size": [8, 8], "crops": crops, "metrics": {"epe": float("nan")}}
        self.fixed_size = None
        self.calls: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = False

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


@pytest.fixture(scope="session")
def teller_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An .onnx file that computes what a Teller of whole images does, with a confidence of 0.5."""
    onnx = pytest.importorskip("onnx", reason='a file is made by onnx: pip install -e ".[export]"')
    pytest.importorskip("onnxruntime", reason="exported models run on onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "rows_columns": np.int64([1, 2]), "last": np.int64([2]), "one": np.int64([1]), "end": np.int64([-1]),
        "red_blue": np.int64([0, 2]), "width_height": np.int64([2, 1]), "zero": np.float32(0), "unit": np.float32(1),
        "half": np.float32(0.5), "spread": np.float32([[4, 1], [1, 2]]),
    }  # fmt: skip
    steps = [
        ("Cast", ["images"], "float", {"to": TensorProto.FLOAT}),
        ("ReduceMean", ["float", "rows_columns"], "means", {"keepdims": 0}),
        ("Gather", ["means", "red_blue"], "two", {"axis": 1}),
        ("Unsqueeze", ["two", "one"], "color", {}),
        ("Shape", ["images"], "shape", {}),
        ("Gather", ["shape", "width_height"], "size", {"axis": 0}),
        ("Cast", ["size"], "size_float", {"to": TensorProto.FLOAT}),
        ("Sub", ["size_float", "unit"], "corner", {}),
        ("Mul", ["color", "zero"], "nought", {}),
        ("Add", ["nought", "corner"], "corners", {}),
        ("Concat", ["corners", "color"], "keypoints", {"axis": 1}),
        ("ReduceMean", ["keypoints", "last"], "some", {"keepdims": 0}),
        ("Mul", ["some", "zero"], "none", {}),
        ("Add", ["none", "half"], "confidence", {}),
        ("Unsqueeze", ["keypoints", "end"], "tall", {}),
        ("Mul", ["tall", "zero"], "flat", {}),
        ("Add", ["flat", "spread"], "covariance", {}),
    ]
    outputs = {"keypoints": ["B", 2, 2], "confidence": ["B", 2], "covariance": ["B", 2, 2, 2]}
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, [output], **options) for kind, inputs, output, options in steps],
        "teller",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["B", "H", "W", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    metadata = {"format": 1, "keypoints": ["corner", "color"], "size": [8, 8], "crops": None}
    model.metadata_props.add(key="softpoint", value=json.dumps(metadata))
    path = tmp_path_factory.mktemp("teller") / "teller.onnx"
    onnx.save_model(model, str(path))
    return path
