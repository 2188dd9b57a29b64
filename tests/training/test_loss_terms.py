"""Targets are at the documented place, on any grid and at any time of the training; values are finite."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from helpers.targets import target_of
from softpoint import functional as F
from softpoint.training import AxisTerm, CoordinateTerm, HeatmapTerm, KeypointLoss, PixelClassTerm, VarianceTerm
from softpoint.training.target import Sigma

STRIDE, SIZE = 4, (6, 8)
MASK = torch.ones(1, 1, dtype=torch.bool)
# Input pixels of an image of 24 x 32: within, on the border, in the corner, just outside of what may teach.
PLACES = [(13.2, 9.9), (-0.5, 12.0), (31.5, 23.5), (0.0, 0.0), (31.5, -0.5)]


def gaussian(x: float, std: float, cells: np.ndarray) -> np.ndarray:
    blob = np.exp(-((cells - x) ** 2) / (2 * std**2))
    return blob / blob.sum()


def nats(p: np.ndarray, logits: Tensor) -> float:
    z = logits.detach().double().numpy()
    return float(-(p * (z - z.max() - np.log(np.exp(z - z.max()).sum()))).sum())


def centers(count: int, width: float) -> np.ndarray:
    """Middles, in pixels, of bins `width` pixels wide."""
    return (np.arange(count) + 0.5) * width - 0.5


@pytest.mark.parametrize("point", PLACES)
def test_a_heatmap_target_is_the_gaussian_in_pixels_sampled_at_the_cells(point: tuple[float, float]) -> None:
    logits = torch.randn(1, 1, *SIZE)
    x, y = (gaussian(point[i], 5.0, centers(SIZE[1 - i], STRIDE)) for i in range(2))
    loss = KeypointLoss({"ce": HeatmapTerm(F.heatmap_ce, 1.0, sigma=5.0)})
    result = loss({"logits": logits}, target_of(torch.tensor([[point]]), MASK, STRIDE))["ce"]
    assert result.item() == pytest.approx(nats(np.outer(y, x), logits[0, 0]), rel=1e-5)


@pytest.mark.parametrize("bins", [1, 2, 5])
@pytest.mark.parametrize("point", PLACES)
def test_an_axis_target_is_the_gaussian_in_pixels_sampled_at_the_bins(point: tuple[float, float], bins: int) -> None:
    axes = [torch.randn(1, 1, SIZE[1] * bins), torch.randn(1, 1, SIZE[0] * bins)]
    prediction = {"logits": torch.zeros(1, 1, *SIZE), "axis_x": axes[0], "axis_y": axes[1]}
    loss = KeypointLoss({"ce": AxisTerm(F.axis_ce, 1.0, sigma=5.0)})
    result = loss(prediction, target_of(torch.tensor([[point]]), MASK, STRIDE))["ce"]
    targets = [gaussian(point[i], 5.0, centers(SIZE[1 - i] * bins, STRIDE / bins)) for i in range(2)]
    assert result.item() == pytest.approx(sum(nats(targets[i], axes[i][0, 0]) for i in range(2)), rel=1e-5)


@pytest.mark.parametrize(("kind", "pixels"), [("nearest", 1.0), ("bilinear", 0.0)])
def test_a_nearest_or_bilinear_target_is_at_the_keypoint(kind: str, pixels: float) -> None:
    point, bins = torch.tensor([[[13.2, 9.9]]]), 2
    heatmaps, axes = [], []

    def keep_map(logits: Tensor, target: Tensor) -> Tensor:
        heatmaps.append(target)
        return target.sum((-2, -1))

    def keep_axis(logits: Tensor, target: Tensor) -> Tensor:
        axes.append(target)
        return target.sum(-1)

    prediction = {"logits": torch.zeros(1, 1, *SIZE), "axis_x": torch.zeros(1, 1, 16), "axis_y": torch.zeros(1, 1, 12)}
    terms = {"map": HeatmapTerm(keep_map, 1.0, target=kind), "axis": AxisTerm(keep_axis, 1.0, target=kind)}
    KeypointLoss(terms)(prediction, target_of(point, MASK, STRIDE))
    mean = F.grid_to_image(F.spatial_expectation(heatmaps[0]), STRIDE)
    assert (mean - point).abs().max() <= pixels * STRIDE / 2 + 1e-5
    along = [F.spatial_expectation(axis[..., None, :])[..., 0] for axis in axes]
    mean = F.grid_to_image(torch.stack(along, -1), STRIDE / bins)
    assert (mean - point).abs().max() <= pixels * STRIDE / bins / 2 + 1e-5


@pytest.mark.parametrize("bins", [None, 2])
@pytest.mark.parametrize("point", PLACES)
def test_the_target_of_a_coordinate_with_sigma_is_the_mean_of_the_gaussian_on_the_map(
    point: tuple[float, float], bins: int | None
) -> None:
    finer = bins or 1
    x, y = (centers(SIZE[1 - i] * finer, STRIDE / finer) for i in range(2))
    mean = [float((gaussian(point[i], 5.0, at) * at).sum()) for i, at in enumerate((x, y))]
    logits = torch.randn(1, 1, *SIZE)
    result = F.soft_argmax(logits) if bins is None else torch.rand(1, 1, 2) * 5
    prediction = {"logits": logits} if bins is None else {
        "logits": logits, "mean": result, "axis_x": torch.zeros(1, 1, len(x)), "axis_y": torch.zeros(1, 1, len(y))
    }  # fmt: skip
    loss = KeypointLoss({"l1": CoordinateTerm(F.coordinate_l1, sigma=5.0)})
    value = loss(prediction, target_of(torch.tensor([[point]]), MASK, STRIDE))["l1"]
    expected = np.abs(F.grid_to_image(result, STRIDE)[0, 0].double().numpy() - mean).sum() / STRIDE
    assert value.item() == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("sigma", [None, 5.0])
@pytest.mark.parametrize("point", PLACES)
def test_the_target_of_a_regressed_mean_is_the_keypoint_itself(point: tuple[float, float], sigma: float | None) -> None:
    mean = torch.tensor([[[2.0, 3.0]]], dtype=torch.float16)
    value = CoordinateTerm(F.coordinate_l2, sigma=sigma)(
        {"logits": torch.zeros(1, 1, *SIZE), "mean": mean}, target_of(torch.tensor([[point]]), MASK, STRIDE)
    )
    expected = np.hypot((point[0] + 0.5) / 4 - 0.5 - 2, (point[1] + 0.5) / 4 - 0.5 - 3)
    assert value.dtype == torch.float32 and value.item() == pytest.approx(expected, rel=1e-6)


def test_sigma_is_linear_in_progress_and_has_its_end_without_one() -> None:
    sigma = Sigma.of(OmegaConf.create({"start": 8, "end": 3}))
    assert [sigma.at(progress) for progress in (0.0, 0.2, 1.0, None)] == [8.0, 7.0, 3.0, 3.0]
    assert Sigma.of(2.5).at(0.0) == Sigma.of(2.5).at(None) == 2.5


@pytest.mark.parametrize("term", [HeatmapTerm, VarianceTerm, AxisTerm, CoordinateTerm])
def test_a_scheduled_sigma_equals_a_fixed_one_at_each_time(term: type) -> None:
    torch.manual_seed(1)
    loss = {HeatmapTerm: F.heatmap_kl, VarianceTerm: F.variance, AxisTerm: F.axis_ce, CoordinateTerm: F.coordinate_l1}
    prediction = {"logits": torch.randn(1, 1, *SIZE)}
    if term is AxisTerm:
        prediction |= {"axis_x": torch.randn(1, 1, 16), "axis_y": torch.randn(1, 1, 12)}
    point = torch.tensor([[[2.0, 20.0]]])
    scheduled = KeypointLoss({"term": term(loss[term], weight=1.0, sigma={"start": 10.0, "end": 4.0})})
    for progress, sigma in ((0.0, 10.0), (0.5, 7.0), (1.0, 4.0), (None, 4.0)):
        expected = KeypointLoss({"term": term(loss[term], weight=1.0, sigma=sigma)})(
            prediction, target_of(point, MASK, STRIDE)
        )
        value = scheduled(prediction, target_of(point, MASK, STRIDE, progress=progress))["term"]
        assert value == expected["term"]


@pytest.mark.parametrize("sigma", [{"start": 8.0}, {"start": 8.0, "end": 3.0, "by": 0.5}, {}])
def test_a_schedule_needs_its_start_and_its_end(sigma: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"sigma must be a number, or have start and end, as in \{start: 8, end: 3\}"):
        HeatmapTerm(F.heatmap_ce, 1.0, sigma=sigma)


@pytest.mark.parametrize("term", [HeatmapTerm, AxisTerm])
def test_an_unknown_target_is_refused(term: type) -> None:
    with pytest.raises(ValueError, match="a loss has no target 'bilinaer'; did you mean 'bilinear'"):
        term(F.heatmap_ce, 1.0, target="bilinaer")


FUNCTIONS = {
    "heatmap": (F.heatmap_ce, F.heatmap_kl, F.heatmap_js, F.heatmap_mse, F.heatmap_awing),
    "coordinate": (F.coordinate_l1, F.coordinate_l2, F.coordinate_huber, F.coordinate_wing),
}
EXTREME = {
    **{f"{loss.__name__} {kind}": HeatmapTerm(loss, 1.0, target=kind)
       for loss in FUNCTIONS["heatmap"] for kind in ("gaussian", "nearest", "bilinear")},
    **{loss.__name__: CoordinateTerm(loss, sigma=3.0) for loss in FUNCTIONS["coordinate"]},
    **{f"axis_ce {kind}": AxisTerm(F.axis_ce, 1.0, target=kind) for kind in ("gaussian", "nearest", "bilinear")},
    "variance": VarianceTerm(F.variance, weight=1.0),
    "pixel_classes": PixelClassTerm(radius=4.0, ring=3.0, smoothing=0.1),
}  # fmt: skip


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("name", EXTREME)
def test_extreme_logits_anywhere_are_finite_and_as_in_double_precision(
    name: str, dtype: torch.dtype, autocast: bool
) -> None:
    places = [*PLACES, (float("nan"), float("inf")), (1e30, -7.0)]
    points = torch.tensor(places)[None]
    mask = torch.tensor([[True] * len(PLACES) + [False] * 2])
    classes = len(places) + (name == "pixel_classes")
    shapes = {"logits": (classes, *SIZE), "classes": (classes, *SIZE), "axis_x": (classes, 16), "axis_y": (classes, 12)}
    leaves = {}
    for part, shape in shapes.items():
        values = torch.randint(-1, 2, (1, *shape)) * 1e4 + torch.randn(1, *shape)
        leaves[part] = values.to(dtype).requires_grad_()
    parts = {"axis_ce": ("logits", "axis_x", "axis_y"), "pixel_classes": ("logits", "classes")}
    prediction = {part: leaves[part] for part in parts.get(name.split()[0], ("logits",))}
    loss = KeypointLoss({"term": EXTREME[name]})
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        value = loss(prediction, target_of(points, mask, STRIDE))["loss"]
    value.backward()
    assert value.dtype == torch.float32 and torch.isfinite(value)
    assert all(torch.isfinite(leaf.grad).all() for leaf in prediction.values() if leaf.grad is not None)
    double = {part: leaf.detach().double() for part, leaf in prediction.items()}
    exact = loss(double, target_of(points.double(), mask, STRIDE))
    assert value.item() == pytest.approx(exact["loss"].item(), rel=2e-4)
