"""An explanation holds what the network computed for the prediction, and its pages are drawn for any network."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from softpoint.functional import spatial_softmax
from softpoint.inference import Predictor, load_predictor
from softpoint.inference.explanation import explain, explanation_pages
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import DynamicSpatialAttention, SpatialAttention
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead

IMAGE = np.random.default_rng(0).integers(0, 255, (50, 70, 3), dtype=np.uint8)


def predictor(
    num_keypoints: int = 2, attention: Any = None, pad: bool = False, size: tuple = (64, 96), calibrated: bool = True
) -> Predictor:
    torch.manual_seed(0)
    decoder = partial(FusionDecoder, channels=8)
    net = KeypointNet(num_keypoints, Small(width=8), decoder, SoftArgmaxHead, attention, (3,), pad=pad)
    if calibrated:
        net.calibration.set(radius=torch.tensor(3.0))
    return Predictor(net, Skeleton(tuple(f"point {i}" for i in range(num_keypoints))), size, "cpu", explain=calibrated)


@pytest.mark.parametrize("tta", [None, "flip"])
def test_it_explains_the_prediction_that_is_made(run: Path, tta: str | None) -> None:
    loaded = load_predictor(run / "checkpoints" / "best.ckpt", tta=tta, explain=True)
    inputs = [loaded.preprocess(image) for image in (IMAGE, IMAGE[::-1], IMAGE[:, ::-1])]
    predictions = list(loaded.predict(inputs, batch_size=2))
    for made, explained, seen in zip(predictions, explain(loaded, inputs, batch_size=2), inputs, strict=True):
        assert all(np.array_equal(made[name], value) for name, value in explained.prediction.items())
        np.testing.assert_allclose(explained.image / 255, seen.image, atol=0.5 / 255)
        back = np.pad(explained.keypoints, [(0, 0), (0, 1)], constant_values=1) @ seen.matrix.T
        np.testing.assert_allclose(back[:, :2], made["keypoints"], atol=1e-3)
    # Of three images and their mirrors, each has its own attention: that of the plain network to it alone.
    plain = load_predictor(run / "checkpoints" / "best.ckpt", explain=True)
    for explained, one in zip(explain(loaded, inputs, 2), inputs, strict=True):
        mirror = one._replace(image=one.image[:, ::-1].copy())
        alone, flipped = (next(explain(plain, [seen])).attention for seen in (one, mirror))
        assert len(explained.attention) == len(alone) * (1 if tta is None else 2) > 0
        for place, maps in alone.items():
            np.testing.assert_allclose(explained.attention[place].mask, maps.mask, atol=1e-4)
            if tta == "flip":
                seen = explained.attention[f"mirror, {place}"]
                np.testing.assert_allclose(seen.mask[:, ::-1], flipped[place].mask, atol=1e-4)
                np.testing.assert_allclose(seen.branches[..., ::-1], flipped[place].branches, atol=1e-4)
                np.testing.assert_allclose(seen.router_weights, flipped[place].router_weights, atol=1e-4)


def test_heatmaps_and_masks_span_what_a_padded_network_sees() -> None:
    padding = predictor(attention=DynamicSpatialAttention, pad=True, size=(50, 70))
    (explained,) = explain(padding, [padding.preprocess(IMAGE)])
    assert explained.image.shape == (64, 96, 3)
    np.testing.assert_array_equal(explained.image[:50, :70], IMAGE)
    assert (explained.image[50:] == 128).all() and (explained.image[:, 70:] == 128).all()
    stride = padding.net.head.stride
    assert explained.heatmaps.shape[1:] == (64 // stride, 96 // stride)
    logits = padding.forward(torch.from_numpy(padding.preprocess(IMAGE).image).permute(2, 0, 1)[None])["logits"]
    seen = spatial_softmax(logits)[0].numpy()
    np.testing.assert_allclose(explained.heatmaps[:, : seen.shape[1], : seen.shape[2]], seen, atol=1e-6)
    assert explained.attention["head"].mask.shape == explained.heatmaps.shape[1:]


@pytest.mark.parametrize("attention", [None, SpatialAttention, DynamicSpatialAttention])
def test_pages_with_any_attention(attention: Any) -> None:
    explaining = predictor(attention=attention)
    (explained,) = explain(explaining, [explaining.preprocess(IMAGE)])
    assert list(explained.attention) == ([] if attention is None else ["stage3", "head"])
    (page,) = explanation_pages(explained, explaining.skeleton, "an image")
    without = explained._replace(attention={})
    assert len(page) - len(explanation_pages(without, explaining.skeleton, "an image")[0]) > 0 or attention is None


def test_a_page_of_a_network_that_is_not_calibrated_says_so() -> None:
    bare = predictor(calibrated=False)
    (explained,) = explain(bare, [bare.preprocess(IMAGE)])
    assert not explained.calibrated
    (page,) = explanation_pages(explained, bare.skeleton, "an image")
    (silent,) = explanation_pages(explained._replace(calibrated=True), bare.skeleton, "an image")
    assert len(page) > len(silent) and np.array_equal(page[: len(silent), : silent.shape[1]], silent)


@pytest.mark.parametrize(("num_keypoints", "pages"), [(1, 1), (24, 1), (25, 2), (200, 9)])
def test_many_keypoints_have_several_pages(num_keypoints: int, pages: int) -> None:
    explaining = predictor(num_keypoints)
    (explained,) = explain(explaining, [explaining.preprocess(IMAGE)])
    assert len(explanation_pages(explained, explaining.skeleton, "an image")) == pages
