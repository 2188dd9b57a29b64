"""A fit recovers the distribution of the errors, stays near its priors where they are few, and is in best.ckpt."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.training import built, composed, labeled, tiny, write_labels
from softpoint.functional import grid_to_image, render_gaussians
from softpoint.inference import load_predictor, read_checkpoint
from softpoint.labels.skeleton import Skeleton
from softpoint.layers import Calibration
from softpoint.layers.calibration import TAIL, Evidence, evidence, log_deviation, unit_covariance
from softpoint.metrics import expected_calibration_error
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.training import Calibrate
from softpoint.training.best import best_checkpoint
from softpoint.training.calibrate import Fit, new_rows
from softpoint.training.calibration_errors import flip_change, measure, shifts
from softpoint.training.calibration_fit import CENTRAL_LEAD, COVARIANCE_SCALE, LEVEL, SLOPE, Measured, fit_calibration
from softpoint.training.processes import on_first_process

RADIUS, STRIDE, K = torch.tensor(6.0), 4, 5
NONE = Evidence(torch.zeros(0, 2, 2), *[torch.zeros(0)] * 3)


def seen_in(count: int, sure: bool = True) -> dict[str, Tensor]:
    """Predictions of heatmaps of many widths, upright and not, of height as they are wide; flat ones if not `sure`."""
    cells = torch.rand(count, K, 2) * torch.tensor([20.0, 14.0]) + 4
    width = torch.rand(count, K) * 3 + 0.6
    logits = torch.stack([render_gaussians(c, float(w), (22, 28)) for c, w in zip(cells, width[:, 0], strict=True)])
    logits = (logits + 1e-4).log() if sure else 0.3 * torch.randn(count, K, 22, 28)
    return {"logits": logits, "keypoints": grid_to_image(cells, STRIDE)}


def drawn(prediction: dict[str, Tensor], scale: float = 1.0, slope: float = 1.0, tail: float = math.inf) -> Measured:
    """Errors of the covariance scale^2 sd^(2 slope) times the heatmap's shape, from a t-distribution of `tail`."""
    seen = evidence(prediction, STRIDE)
    root = (
        torch.linalg.cholesky(unit_covariance(seen.spread))
        * (slope * log_deviation(seen.spread)).exp()[..., None, None]
    )
    error = scale * (root @ torch.randn(*root.shape[:-1], 1))[..., 0]
    if tail < math.inf:
        error = error / (torch.distributions.Chi2(tail).sample(error.shape[:-1]) / tail).sqrt()[..., None]
    return Measured(seen, error, torch.ones(error.shape[:-1], dtype=torch.bool), error.norm(dim=-1) <= RADIUS)


def calibrated(prediction: dict[str, Tensor], **values: Tensor) -> dict[str, Tensor]:
    calibration = Calibration(K)
    calibration.set(**values)
    return calibration(prediction, STRIDE)


@pytest.fixture(scope="module")
def many() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Predictions to fit on, and others to judge by."""
    torch.manual_seed(1)
    return seen_in(400), seen_in(400)


def held(covariance: Tensor, error: Tensor, quantile: float) -> float:
    squared = (error * torch.linalg.solve(covariance, error)).sum(-1)
    return (squared <= quantile).float().mean().item()


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_gaussian_errors_give_back_their_covariance(many: Any, scale: float) -> None:
    result = fit_calibration(drawn(many[0], scale), RADIUS, NONE)
    covariance = calibrated(many[1], **result)["covariance"]
    seen = evidence(many[1], STRIDE)
    truth = scale**2 * (2 * log_deviation(seen.spread)).exp()[..., None, None] * unit_covariance(seen.spread)
    ratio = (torch.linalg.det(covariance) / torch.linalg.det(truth)).sqrt()
    assert ratio.log().mean().abs() < 0.2 and (ratio.log() - ratio.log().mean()).abs().max() < 0.3


@pytest.mark.parametrize("tail", [TAIL, 5.0, math.inf])
@pytest.mark.parametrize("slope", [1.0, 1.5])
def test_the_calibration_holds_for_new_errors(many: Any, tail: float, slope: float) -> None:
    values = fit_calibration(drawn(many[0], 0.7, slope, tail), RADIUS, NONE)
    new, message = drawn(many[1], 0.7, slope, tail), calibrated(many[1], **values)
    assert expected_calibration_error(message["confidence"].flatten().numpy(), new.hit.flatten().numpy()) < 0.04
    assert 0.86 < held(message["covariance"], new.error, 4.605) < 0.94
    assert 0.45 < held(message["covariance"], new.error, 1.386) < 0.65


def test_a_keypoint_with_larger_errors_has_a_larger_scale(many: Any) -> None:
    measured = drawn(many[0], tail=TAIL)
    measured.error[:, 2] *= 3
    log_scale = fit_calibration(measured, RADIUS, NONE)["log_scale"]
    others = log_scale[[0, 1, 3, 4]].mean()
    assert (log_scale[2] - others).item() == pytest.approx(math.log(3), abs=0.15)


def test_few_points_change_the_priors_little_and_none_not_at_all(many: Any) -> None:
    measured = drawn(many[0], 20.0, tail=TAIL)
    values = []
    for count in (0, 1, 8):
        mask = measured.mask & (torch.arange(len(measured.mask)) < count)[:, None]
        # Anything may stand where nothing is labeled.
        error = torch.where(mask[..., None], measured.error, torch.nan)
        values.append(fit_calibration(measured._replace(error=error, mask=mask), RADIUS, NONE))
    at_four = [
        float(v["log_scale"].mean() + v["slope"] * math.log(4) + v["peak_weight"] * CENTRAL_LEAD) for v in values
    ]
    assert at_four[0] == pytest.approx(LEVEL[0] + 0.05, abs=1e-4) and values[0]["slope"] == pytest.approx(SLOPE[0])
    assert values[0]["covariance_scale"].item() == pytest.approx(COVARIANCE_SCALE)
    assert at_four[0] < at_four[1] < at_four[2] < math.log(20) + math.log(4)


@pytest.mark.parametrize("share", [0.6, 0.9, 1.0])
def test_errors_of_exactly_zero_leave_every_value_finite(many: Any, share: float) -> None:
    measured = drawn(many[0], tail=TAIL)
    error = torch.where(torch.rand(measured.mask.shape)[..., None] < share, 0, measured.error)
    values = fit_calibration(measured._replace(error=error, hit=error.norm(dim=-1) <= RADIUS), RADIUS, NONE)
    assert all(value.isfinite().all() and value.abs().max() < 1e4 for value in values.values()), values
    assert calibrated(many[1], **values)["covariance"].isfinite().all()


def test_ellipses_hold_unsure_points_whose_tail_is_the_heavier_one(many: Any) -> None:
    """A fifth of the points of the widest heatmaps, and of those with a second peak, are far off."""

    def mixed(prediction: dict[str, Tensor]) -> Measured:
        measured = drawn(prediction, 0.5)
        width = log_deviation(measured.evidence.spread)
        unsure = width > width.median()
        lead = torch.where(unsure & (torch.rand(width.shape) < 0.5), 0.3, 2.0)
        gross = unsure & (torch.rand(width.shape) < torch.where(lead < 1, 0.5, 0.1))
        error = torch.where(gross[..., None], 8 * measured.error, measured.error)
        return measured._replace(error=error, evidence=measured.evidence._replace(lead=lead))

    values, new = fit_calibration(mixed(many[0]), RADIUS, NONE), mixed(many[1])
    calibration = Calibration(K)
    calibration.set(**values)
    scale = calibration.parts(new.evidence).error_scale
    covariance = calibration.covariance(new.evidence, scale)
    assert values["peak_weight"] < -0.1 and values["covariance_slope"] > 0.1
    for part in scale.flatten().argsort().tensor_split(4):
        assert abs(held(covariance.flatten(0, 1)[part], new.error.flatten(0, 1)[part], 4.605) - 0.9) < 0.12


def test_absent_points_have_a_low_confidence(many: Any) -> None:
    measured, gone = drawn(many[0], 0.5), seen_in(60, sure=False)
    absent = Evidence(*(value.flatten(0, 1) for value in evidence(gone, STRIDE)))
    values = fit_calibration(measured, RADIUS, absent)
    here, there = calibrated(many[1], **values)["confidence"], calibrated(seen_in(50, sure=False), **values)
    trusted = calibrated(many[1], **fit_calibration(measured, RADIUS, NONE))["confidence"]
    assert there["confidence"].mean() < 0.05 and (trusted - here).mean() < 0.02


def test_shifted_images_and_their_points_move_alike() -> None:
    image = torch.randint(256, (2, 3, 32, 48), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    points = torch.tensor([[[10.0, 20.0], [40.0, 4.0]], [[23.0, 15.0], [47.4, 31.4]]])
    for (moved, outside), (dx, dy) in zip(
        shifts(image, points, 2.0), [(-24, 0), (24, 0), (0, -16), (0, 16)], strict=True
    ):
        expected = torch.zeros_like(image)
        for y in range(32):
            for x in range(48):
                if 0 <= y - dy < 32 and 0 <= x - dx < 48:
                    expected[..., y, x] = image[..., y - dy, x - dx]
        assert torch.equal(moved, expected)
        x, y = (points + torch.tensor([float(dx), float(dy)])).unbind(-1)
        assert torch.equal(outside, (x < -2.5) | (x > 49.5) | (y < -2.5) | (y > 33.5))


def batches(visibility: int = 2) -> Iterator[dict[str, Any]]:
    for scale in (50.0, 70.0, 300.0):
        yield {
            "image": torch.randint(256, (1, 3, 64, 64), dtype=torch.uint8),
            "keypoints": torch.rand(1, K, 2) * 63,
            "visibility": torch.full((1, K), visibility),
            "matrix": torch.diag(torch.tensor([2.0, 2.0, 1.0]))[None],
            "scale": torch.tensor([scale]),
        }


def network() -> KeypointNet:
    decoder = partial(FusionDecoder, channels=8, stride=STRIDE)
    return KeypointNet(K, Small(width=8, stages=(2, 3)), decoder, partial(SoftArgmaxHead, window=5)).eval()


def test_the_radius_is_a_part_of_the_typical_subject_in_input_pixels() -> None:
    net = network()
    torch.manual_seed(0)
    result = measure(net, batches(), fraction=0.1)
    assert result is not None
    measured, radius, absent = result
    assert radius.item() == pytest.approx(0.1 * 70 / 2) and len(absent.contrast) > 0
    torch.manual_seed(0)
    for i, batch in enumerate(batches()):
        error = net(batch["image"])["keypoints"] - batch["keypoints"]
        torch.testing.assert_close(measured.error[i], error[0].detach())
        assert torch.equal(measured.hit[i], error[0].norm(dim=-1) <= 0.1 * batch["scale"] / 2)
    assert measure(net, batches(visibility=0), fraction=0.1) is None


def test_confidence_and_ellipse_are_of_any_decoding(many: Any) -> None:
    moved = {**many[0], "keypoints": many[0]["keypoints"] + torch.tensor([12.0, 0.0])}
    near, far = evidence(many[0], STRIDE), evidence(moved, STRIDE)
    # A point beside its heatmap's maximum is expected to err towards it.
    assert (far.spread[..., 0, 0] > near.spread[..., 0, 0]).all()


@pytest.mark.parametrize(("fraction", "images"), [(0.0, 9), (-1.0, 9), (0.05, 0)])
def test_numbers_out_of_range_are_refused(fraction: float, images: int) -> None:
    with pytest.raises(ValueError, match=r"callbacks\.calibrate\.fraction=.* must be positive.*~callbacks\.calibrate"):
        Calibrate(fraction, images)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny training, whose validation lasts two batches."""
    folder = tmp_path_factory.mktemp("calibrated")
    module, data, trainer = built(composed("train", tiny("data.val=6"), folder))
    trainer.fit(module, data)
    return folder


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
def test_the_best_checkpoint_is_calibrated_and_the_last_is_not(run: Path) -> None:
    best, last = (read_checkpoint(run / "checkpoints" / f"{name}.ckpt").net for name in ("best", "last"))
    assert best.calibration.fitted and not last.calibration.fitted
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    image = torch.randint(256, (64, 64, 3), dtype=torch.uint8)
    answer = load_predictor(run / "checkpoints" / "best.ckpt")(image.numpy())
    with torch.inference_mode():
        raw = last(image.permute(2, 0, 1)[None])
        expected = best.calibration(raw, best.decoder.stride)
    torch.testing.assert_close(torch.from_numpy(answer["confidence"]), expected["confidence"][0])
    torch.testing.assert_close(torch.from_numpy(answer["covariance"]), expected["covariance"][0], rtol=1e-4, atol=1e-2)
    assert not torch.allclose(raw["confidence"], expected["confidence"])
    assert "optimizer_states" in torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
def test_the_message_has_the_radius_in_original_pixels_and_the_number_of_groups(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = labeled(write_labels(tmp_path / "data"))
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    trainer.fit(module, data)
    radius = read_checkpoint(tmp_path / "run/checkpoints/best.ckpt").net.calibration.radius
    rows = data.splits["val"]
    pixel = np.median([max(data.sources["val"].describe(i).size) / 64 for i in range(len(rows))])
    message = f"within {radius * pixel:.1f} px (5 % of the usual subject's size; {radius:.1f} px of the 64x64 input)"
    groups = len({data.labels.groups[row] for row in rows})
    units = f"{groups} groups" if groups > 1 else "1 group"  # of the four that all images are of
    assert f"{message}, fitted on {len(rows)} images; independent units: {units}; fewer" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*")
def test_calibration_measures_the_unrounded_input_of_a_predictor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = labeled(write_labels(tmp_path / "data"), "data.device_cache=true")
    module, data, trainer = built(composed("train", words, tmp_path / "run"))
    seen: list[Tensor] = []
    monkeypatch.setattr(
        "softpoint.training.calibrate.measure", lambda net, batches, *_: seen.extend(b["image"] for b in batches)
    )
    trainer.fit(module, data)
    dataset = data.dataset("val", unrounded=True)
    wanted = torch.stack([dataset[i]["image"] for i in range(len(dataset))]).movedim(-1, 1)
    assert seen[0].dtype == torch.float32 and torch.equal(torch.cat(seen), wanted)


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:Checkpoint directory")
def test_a_training_that_goes_on_forgets_the_calibration(tmp_path: Path) -> None:
    module, data, trainer = built(composed("train", tiny(), tmp_path))
    trainer.fit(module, data)
    best = trainer.checkpoint_callback.best_model_path
    assert read_checkpoint(best).net.calibration.radius > 0
    words = tiny("trainer.max_epochs=2", "~callbacks.calibrate")
    module, data, trainer = built(composed("train", words, tmp_path))
    trainer.fit(module, data, ckpt_path=best, weights_only=True)
    last = read_checkpoint(tmp_path / "checkpoints/last.ckpt")
    assert trainer.current_epoch == 2 and last.net.calibration.radius == 0


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:The dirpath has changed")
def test_a_run_that_goes_on_elsewhere_leaves_the_best_checkpoint_of_the_first(run: Path, tmp_path: Path) -> None:
    best = run / "checkpoints" / "best.ckpt"
    before = best.read_bytes()
    module, data, trainer = built(composed("train", tiny("data.val=6"), tmp_path))
    trainer.fit(module, data, ckpt_path=run / "checkpoints" / "last.ckpt", weights_only=True)
    assert trainer.checkpoint_callback.best_model_path == "" and best_checkpoint(trainer) is None
    assert best.read_bytes() == before


@pytest.mark.parametrize(
    ("train", "val", "test", "rows"),
    [
        ("aab", "ab", "cc", []),  # too few groups to set one aside
        ("aab", "ac", "d", [1]),
        ("aab", "cc", "d", None),
        ("aab", "ab", "ab", None),  # a split that divides groups, and tests on them too
        ("aaa", "aa", "aa", None),  # of one video
        ("ab", "ab", "", []),
    ],
)
def test_validation_images_of_trained_groups_tell_nothing_of_new_ones(
    train: str, val: str, test: str, rows: list[int] | None
) -> None:
    assert new_rows({"train": train, "val": val, "test": test}) == rows


def test_a_calibration_without_new_groups_says_so() -> None:
    fit = Fit(0.05, 2.0, 1.0, (64, 64), 9, 0, "images", " of a group that was not trained on")
    assert "as it usually is on other sets, since no image of a group that was not trained on is left" in str(fit)


def test_an_error_of_the_first_process_is_raised_in_all() -> None:
    sent: list[Any] = []

    def broadcast(value: Any) -> Any:
        sent.append(value)
        return sent[0]

    first, other = (
        SimpleNamespace(is_global_zero=first, strategy=SimpleNamespace(broadcast=broadcast)) for first in (True, False)
    )
    with pytest.raises(ZeroDivisionError):
        on_first_process(first, lambda: 1 / 0)
    with pytest.raises(RuntimeError, match="the first process failed: ZeroDivisionError"):
        on_first_process(other, lambda: None)
    sent.clear()
    assert [on_first_process(trainer, lambda: 5) for trainer in (first, other)] == [5, 5]


class Shifted(KeypointNet):
    """A network of two keypoints at the middle of the image, off by `bias` px to the right, mirrored or not."""

    def __init__(self, bias: float) -> None:
        head = partial(SoftArgmaxHead, decode="expectation")
        super().__init__(2, Small(8), partial(FusionDecoder, channels=8), head)
        self.bias, self.images = bias, 0

    def uncalibrated(self, image: Tensor, masks: Any = None) -> Any:
        self.images += len(image)
        means = torch.full((len(image), 2, 2), 7.5) + torch.tensor([self.bias / 4, 0.0])
        return self.head.read(render_gaussians(means, 1.5, (16, 16)).clamp_min(1e-30).log())


def test_the_change_by_a_mirror_image_is_measured_in_original_pixels() -> None:
    skeleton = Skeleton(("left", "right"), (("left", "right"),))
    truth = torch.full((6, 2, 2), 31.5)
    seen = torch.tensor([[2, 2], [2, 2], [2, 0], [1, 2], [2, 2], [2, 2]])
    batch: Any = {"image": torch.zeros(6, 3, 64, 64), "keypoints": truth, "visibility": seen}
    batch["matrix"] = torch.diag(torch.tensor([2.0, 2.0, 1.0])).expand(6, 3, 3)  # an input pixel is two of the image
    net = Shifted(3.0)
    change = flip_change(net, [batch], skeleton, np.arange(6))
    assert change == pytest.approx((-6.0, -6.0), abs=1e-2)  # both biases cancel
    assert net.images == 12  # each image and its mirror once
    batch["keypoints"] = truth + torch.tensor([3.0, 0.0])
    change = flip_change(Shifted(3.0), [batch], skeleton, np.arange(6))
    assert change == pytest.approx((6.0, 6.0), abs=1e-2)
    assert flip_change(Shifted(3.0), [batch], skeleton, np.zeros(6, int)) is None
    batch["visibility"] = torch.zeros(6, 2, dtype=torch.int64)
    assert flip_change(Shifted(3.0), [batch], skeleton, np.arange(6)) is None


def test_the_outcome_says_what_auto_does() -> None:
    fit = Fit(0.05, 3.0, 2.0, (64, 64), 9, 9, "images", flip=(-2.0, -0.5))
    assert fit.facts["flip_change"] == [-2.0, -0.5]
    assert "tta=flip changes their errors by -2.00 to -0.50 px (95 % interval): tta=auto averages" in str(fit)
    assert "tta=auto leaves it out" in str(fit._replace(flip=(-2.0, 0.5))) and "tta" not in str(fit._replace(flip=None))
