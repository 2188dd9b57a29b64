"""Predictions are in each image's own pixels, for images of any size, as arrays, lists and tensors."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import softpoint
from helpers.training import NAMES
from softpoint.data.geometry import letterbox_matrix, transform, warp
from softpoint.inference import Predictor, load_predictor, read_checkpoint
from softpoint.inference.flip_tta import FlipAverage
from softpoint.inference.predictor import BATCH_SIZE
from softpoint.labels.skeleton import Skeleton

SIZES = [(64, 64), (48, 96), (201, 97), (30, 500), (640, 480), (1, 1), (2, 300)]


@pytest.fixture(scope="module")
def predictor(run: Path) -> Predictor:
    return load_predictor(run / "checkpoints" / "best.ckpt")


def canvases(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


class Oracle(nn.Module):
    """Answers with the points (in fractions of the image) as they lie in the letterboxed input."""

    def __init__(self, fractions: np.ndarray, sizes: list[tuple[int, int]], size: tuple[int, int]) -> None:
        super().__init__()
        self.fractions, self.sizes, self.size = fractions, sizes, size

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        assert image.is_floating_point() and image.shape == (BATCH_SIZE, 3, *self.size)
        points = [
            transform(self.fractions * [width, height] - 0.5, letterbox_matrix((height, width), self.size))
            for height, width in self.sizes
        ]
        covariance = torch.tensor([[4.0, 1.0], [1.0, 9.0]]).expand(BATCH_SIZE, len(self.fractions), 2, 2)
        blank = BATCH_SIZE - len(points)
        keypoints = torch.cat([torch.from_numpy(np.array(points)).float(), torch.zeros(blank, len(self.fractions), 2)])
        return {"keypoints": keypoints, "confidence": torch.full(keypoints.shape[:2], 0.5), "covariance": covariance}


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (32, 256)])
def test_points_and_covariances_return_to_the_images_own_pixels(run: Path, size: tuple[int, int]) -> None:
    fractions = np.array([[0.1, 0.2], [0.5, 0.5], [0.93, 0.4]])
    sizes = [shape for shape in SIZES if min(shape) > 2]
    predictor: Any = load_predictor(run / "checkpoints" / "best.ckpt")
    predictor.net, predictor.size = Oracle(fractions, sizes, size), size
    result = predictor(canvases(sizes))
    for i, (height, width) in enumerate(sizes):
        np.testing.assert_allclose(result["keypoints"][i], fractions * [width, height] - 0.5, atol=1e-3)
        scale = max(height / size[0], width / size[1])
        expected = np.broadcast_to(np.array([[4.0, 1.0], [1.0, 9.0]]) * scale**2, (3, 2, 2))
        np.testing.assert_allclose(result["covariance"][i], expected, rtol=1e-4)
    assert (result["confidence"] == 0.5).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size_gives_finite_numbers(predictor: Predictor, size: tuple[int, int]) -> None:
    result = predictor(canvases([size])[0])
    assert {name: value.shape for name, value in result.items()} == {
        "keypoints": (4, 2), "confidence": (4,), "covariance": (4, 2, 2)
    }  # fmt: skip
    for value in result.values():
        assert isinstance(value, np.ndarray) and value.dtype == np.float32 and np.isfinite(value).all()
    assert ((result["confidence"] > 0) & (result["confidence"] <= 1)).all()


def test_single_list_batch_and_tensor_agree(predictor: Predictor) -> None:
    images = canvases([(80, 60)] * 3)
    single = [predictor(image) for image in images]
    variants = [images, tuple(images), np.stack(images), torch.from_numpy(np.stack(images))]
    for inputs in variants:
        result = predictor(inputs)
        for name, value in result.items():
            np.testing.assert_allclose(value, [answer[name] for answer in single], rtol=1e-3, atol=1e-3)
    first = predictor(torch.from_numpy(images[0]))
    assert all(np.array_equal(first[name], single[0][name]) for name in first)


@pytest.mark.parametrize("tta", [None, "flip"])
def test_parts_of_a_confidence_are_in_the_images_own_pixels(run: Path, tta: str | None) -> None:
    ckpt = run / "checkpoints" / "best.ckpt"
    explaining, plain = load_predictor(ckpt, tta=tta, explain=True), load_predictor(ckpt, tta=tta)
    small = canvases([(64, 64)])[0]
    large = small.repeat(3, 0).repeat(3, 1)  # the mean of 3 x 3 equal pixels is that pixel
    one, three = explaining(small), explaining(large)
    assert {*explaining.empty()} == {*one} and one["radius"][0] == pytest.approx(float(plain.net.calibration.radius))
    for result, image in ((one, small), (three, large)):
        np.testing.assert_allclose(result["in_image"] * result["within_radius"], result["confidence"], rtol=1e-5)
        assert all(np.array_equal(result[name], value) for name, value in plain(image).items())
    for name in ("radius", "spread", "error_scale"):
        np.testing.assert_allclose(three[name], 3 * one[name], rtol=1e-3)
    np.testing.assert_allclose(three["contrast"], one["contrast"], rtol=1e-3)


def test_a_confidence_that_was_not_calibrated_has_no_parts(run: Path) -> None:
    with pytest.raises(ValueError, match="explain=true: this network was not calibrated"):
        load_predictor(run / "checkpoints" / "last.ckpt", explain=True)


def test_views_and_read_only_arrays_are_accepted(predictor: Predictor) -> None:
    image = canvases([(80, 60)])[0]
    expected = predictor(image[:, ::-1].copy())
    mirrored = image[:, ::-1]
    mirrored.flags.writeable = False
    assert all(np.array_equal(value, expected[name]) for name, value in predictor(mirrored).items())


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((8, 8), np.uint8), r"uint8 \(8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8 \(8, 8, 4\)"),
        (np.zeros((3, 8, 8), np.uint8), r"uint8 \(3, 8, 8\)"),
        (np.zeros((8, 8, 3)), r"float64 \(8, 8, 3\)"),
        (np.zeros((0, 8, 3), np.uint8), r"uint8 \(0, 8, 3\)"),
        ([np.zeros((8, 8, 3), np.uint8), np.zeros((8, 3), np.uint8)], r"uint8 \(8, 3\)"),
        (torch.zeros(2, 3, 8, 8), r"float32 \(3, 8, 8\)"),
        ([], "no images to predict"),
        (np.zeros((0, 8, 8, 3), np.uint8), "no images to predict"),
    ],
)
def test_other_arrays_are_refused(predictor: Predictor, images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictor(images)


def test_a_list_gives_the_bits_of_any_prediction_in_batches(predictor: Predictor) -> None:
    images = canvases([(80, 60), (40, 90), (64, 64)] * 6)
    expected = list(predictor.predict((predictor.preprocess(image) for image in images), BATCH_SIZE))
    for count in (2, len(images)):
        for name, value in predictor(images[:count]).items():
            assert np.array_equal(value, [prediction[name] for prediction in expected[:count]])


def test_only_one_batch_of_inputs_is_held_at_a_time(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    preprocess, forward = Predictor.preprocess, Predictor.forward
    monkeypatch.setattr(Predictor, "preprocess", lambda *a: events.append("image") or preprocess(*a))
    monkeypatch.setattr(Predictor, "forward", lambda *a: events.append("batch") or forward(*a))
    predictor(canvases([(20, 20)] * (BATCH_SIZE + 1)))
    assert events == ["image"] * BATCH_SIZE + ["batch", "image", "batch"]


def test_its_representation_is_short_and_names_the_input(predictor: Predictor) -> None:
    assert repr(predictor) == "Predictor(4 keypoints, input 64x64, cpu)" and predictor.skeleton.names == NAMES


def test_a_box_is_cropped_as_in_training(run: Path) -> None:
    """The same crop, the same network, the same answer: through the data set and through the predictor."""
    from softpoint.data.dataset import KeypointDataset
    from softpoint.data.sources import Record

    predictor: Any = load_predictor(run / "checkpoints" / "best.ckpt")
    predictor.crops = {"padding": 1.25, "boxes": None}
    image, box = canvases([(120, 200)])[0], np.array([61.5, 20.25, 130.0, 99.5])

    class One:
        skeleton = predictor.skeleton

        def load(self, epoch: int, index: int) -> Record:
            return Record(image, (120, 200), np.full((4, 2), 90.0), np.full(4, 2), 1.0, "", box)

    sample = KeypointDataset(One(), predictor.size, (0,), padding=1.25)[0]  # type: ignore[arg-type]
    view = warp(image, np.linalg.inv(sample["matrix"].double().numpy()), predictor.size, rounded=False)
    np.testing.assert_allclose(sample["image"], view, atol=0.51)  # the sample is rounded
    with torch.inference_mode():
        result = predictor.net(torch.from_numpy(view).permute(2, 0, 1)[None] / 255)["keypoints"]
    expected = softpoint.functional.transform_points(result, sample["matrix"][None])[0]
    np.testing.assert_allclose(predictor(image, box)["keypoints"], expected, atol=0.02)
    both = predictor(image, [box, box + 7])["keypoints"]
    assert both.shape == (2, 4, 2)
    np.testing.assert_allclose(both[0], expected, atol=0.02)
    np.testing.assert_allclose(both, predictor([image, image], [box, box + 7])["keypoints"], atol=1e-3)


@pytest.mark.parametrize(
    ("count", "boxes", "message"),
    [
        (1, [1, 2, 3], r"boxes have shape \(3,\)"),
        (2, [[0, 0, 9, 9]], r"2 images need \(2, 4\)"),
        (1, [5, 5, 5, 9], r"box 0 is \[5.0, 5.0, 5.0, 9.0\]; it must be \(left, top, right, bottom\) with an area"),
        (1, [0, 0, np.nan, 9], "box 0 is"),
        (1, np.zeros((0, 4)), r"shape \(0, 4\)"),
    ],
)
def test_malformed_boxes_are_refused(predictor: Predictor, count: int, boxes: Any, message: str) -> None:
    inputs = canvases([(20, 30)] * count)
    with pytest.raises(ValueError, match=message):
        predictor(inputs[0] if count == 1 else inputs, boxes)


def test_an_unknown_averaging_is_refused(run: Path) -> None:
    with pytest.raises(ValueError, match="tta='flop' is unknown; choose flip, auto, or null"):
        load_predictor(run / "checkpoints/best.ckpt", tta="flop")


@pytest.mark.parametrize("known", ["all", "none", "some"])
@pytest.mark.parametrize("flip", [0.5, 0.0])
def test_flip_averaging_of_a_network_that_saw_no_mirrored_image_is_warned_of(
    run: Path, caplog: pytest.LogCaptureFixture, known: str, flip: float
) -> None:
    checkpoint = replace(read_checkpoint(run / "checkpoints" / "best.ckpt"), record={})
    pairs, config = checkpoint.skeleton.flip_pairs, {"data": {"augment": {"flip": flip}}}
    alone = next(name for name in checkpoint.skeleton.names if name not in pairs[0])
    names = tuple("left_hip" if name == alone and known == "some" else name for name in checkpoint.skeleton.names)
    skeleton = Skeleton(names, () if known == "none" else pairs)
    load_predictor(replace(checkpoint, skeleton=skeleton, config=config), tta="flip", unpaired=True, flip_pairs=pairs)
    mirrored = known == "all" and flip > 0  # training mirrors no image with a side whose partner it does not know
    warnings = [text for text in caplog.messages if "was trained without mirrored images" in text]
    assert len(pairs) == 1 and len(warnings) == (not mirrored)


def test_what_was_measured_decides_auto_and_takes_the_place_of_the_warning(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = replace(read_checkpoint(run / "checkpoints" / "best.ckpt"), config={})
    for change, averaged, warned in (([-2.0, -1.0], True, ""), ([-1.0, 1.0], False, ""), ([1.0, 2.0], False, "larger")):
        measured = replace(checkpoint, record={"flip_change": change})
        assert isinstance(load_predictor(measured, tta="auto").net, FlipAverage) == averaged
        caplog.clear()
        assert isinstance(load_predictor(measured, tta="flip").net, FlipAverage)
        assert len(caplog.messages) == bool(warned) and warned in "".join(caplog.messages)
