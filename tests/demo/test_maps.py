"""Feature maps and the numbers of their softmax, against closed forms."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from softpoint import soft_argmax, spatial_softmax
from softpoint.demo import (
    KINDS,
    analyze,
    attention_steps,
    feature_map,
    file_map,
    image_map,
    intensity,
    kind_map,
    map_features,
    seeded_module,
    snippet,
)
from softpoint.demo.attention import SeededRun, seeded_run
from softpoint.demo.sources import NamedMap
from softpoint.images.decode import read_image
from softpoint.layers import DynamicSpatialAttention
from softpoint.viz import write_image


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (24, 32)])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_a_finite_map_that_its_seed_decides(kind: str, size: tuple[int, int]) -> None:
    logits = feature_map(kind, size, seed=3)
    assert logits.shape == size and logits.dtype == np.float32 and np.isfinite(logits).all() and logits.flags.writeable
    assert np.array_equal(logits, feature_map(kind, size, seed=3))
    different = not np.array_equal(logits, feature_map(kind, size, seed=4))
    assert different == (kind == "random")


def test_gradients_and_the_floor_are_what_they_are_called() -> None:
    across, down = feature_map("horizontal_gradient", (5, 9)), feature_map("vertical_gradient", (9, 5))
    assert np.array_equal(across, down.T) and np.allclose(np.diff(across), 10 / 8)
    radial = feature_map("radial_gradient", (5, 5))
    assert radial[2, 2] == 10 and radial[0, 0] == radial[4, 4] == 0 and np.allclose(radial, np.rot90(radial))
    assert feature_map("floor").min() == 3 and feature_map("floor").max() == feature_map("one_peak").max()


def test_intensity_keeps_the_shape_of_an_image_and_of_gray_its_value() -> None:
    image = np.full((30, 60, 3), 51, np.uint8)
    assert intensity(image, side=20).shape == (10, 20) and np.allclose(intensity(image, side=20), 2)
    with pytest.raises(ValueError, match=r"got \(2, 2\) of float64"):
        intensity(np.zeros((2, 2)))


def test_one_certain_cell_has_no_spread_and_no_entropy() -> None:
    logits = np.zeros((6, 8), np.float32)
    logits[2, 5] = 500
    seen = analyze(logits, window=3)
    assert seen.expectation == seen.argmax == seen.cell == (5, 2) and seen.fit == pytest.approx((5, 2))
    assert seen.entropy == 0 and seen.information == 0 and not seen.covariance.any()
    assert seen.logit_statistics.sum == 500 and seen.softmax_statistics.sum == seen.softmax_statistics.maximum == 1


def test_two_equal_peaks_have_their_mean_in_the_middle_and_the_fit_on_one() -> None:
    seen = analyze(feature_map("two_peaks", (32, 48)))
    assert seen.expectation == pytest.approx((23.5, 15.5), abs=1e-3)
    assert seen.argmax == (12, 10) and seen.fit == pytest.approx((12, 10), abs=1e-2)
    assert analyze(seen.logits, cell=(35, 21)).information == pytest.approx(seen.information)


def test_temperature_goes_from_the_argmax_to_a_flat_map() -> None:
    logits = feature_map("random", (16, 32), seed=1)
    cold, hot = analyze(logits, 1e-3), analyze(logits, 1e6)
    assert cold.expectation == pytest.approx(cold.argmax) and cold.entropy == pytest.approx(0, abs=1e-6)
    assert hot.expectation == pytest.approx((15.5, 7.5), abs=1e-3) and hot.entropy == pytest.approx(math.log2(16 * 32))
    assert hot.std == pytest.approx([math.sqrt((n * n - 1) / 12) for n in (32, 16)], rel=1e-4)
    assert analyze(logits, 0.7).expectation == tuple(soft_argmax(torch.from_numpy(logits), 0.7).tolist())
    with pytest.raises(ValueError, match="temperature=1e-45 overflow; raise temperature"):
        analyze(logits, 1e-45)
    with pytest.raises(ValueError, match=r"cell \(32, 0\) is not on a map of 32 columns and 16 rows"):
        analyze(logits, cell=(32, 0))


def test_the_snippet_of_every_source_computes_the_same_numbers(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    maps = rng.normal(0, 3, (2, 12, 10, 3)).astype(np.float32)
    np.save(tmp_path / "maps's.npy", maps)
    write_image(tmp_path / "a.png", rng.integers(0, 256, (40, 30, 3), dtype=np.uint8))
    file = file_map(tmp_path / "maps's.npy", sample=1, channel=2)
    assert np.array_equal(file.logits, maps[1, :, :, 2])
    image = image_map(read_image(tmp_path / "a.png"), tmp_path / "a.png", side=16)
    for source in (kind_map("random", (12, 10), 5), file, image):
        assert_same_numbers(source)


def assert_same_numbers(source: NamedMap) -> None:
    seen, names = analyze(source.logits, 0.5, 5), {}
    exec(snippet(source, 0.5, 5), names)
    for name in ("expectation", "fit", "argmax"):
        assert tuple(names[name].tolist()) == getattr(seen, name)
    assert np.array_equal(names["covariance"].numpy(), seen.covariance)
    assert (names["bits"].item(), names["information"].item()) == (seen.entropy, seen.information)


def test_channels_last_maps_are_normalized_one_by_one() -> None:
    maps = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    together = spatial_softmax(torch.from_numpy(maps), 2.0, dim=(1, 2)).numpy()
    for n, c in np.ndindex(2, 3):
        assert np.allclose(analyze(maps[n, :, :, c], 2.0).softmax, together[n, :, :, c], rtol=1e-6)


def test_a_seeded_run_gives_the_published_numbers_and_leaves_the_random_state() -> None:
    before = torch.get_rng_state()
    run = seeded_run(0)
    assert isinstance(run, SeededRun) and torch.equal(before, torch.get_rng_state())
    assert run.router_weights[0] == pytest.approx([0.4861, 0.2412, 0.2727], abs=5e-5)
    means, stds = zip(*run.masks.values(), strict=True)
    assert list(run.masks) == [0.5, 1, 2, 5]
    assert means == pytest.approx([0.58098, 0.41935, 0.46876, 0.50826], abs=5e-6)
    assert stds == pytest.approx([0.06029, 0.05250, 0.01780, 0.01128], abs=5e-6)


def test_the_steps_of_attention_end_in_the_masks_of_the_module() -> None:
    x = map_features(feature_map("one_peak", (20, 24)), seed=2)
    steps = attention_steps(x, seeded_module(1), (0.5, 5.0))
    for temperature, mask in steps.masks.items():
        torch.manual_seed(1)
        expected = DynamicSpatialAttention(temperature=temperature)(x)[1]
        np.testing.assert_allclose(mask, expected[0, 0].detach().numpy(), atol=1e-6)
    assert sum(steps.weights) == pytest.approx(1) and steps.channels.shape == (2, 20, 24)
    np.testing.assert_allclose(np.tensordot(steps.weights, steps.branches, 1), steps.mixed, atol=1e-5)
