"""Sets of cells are the most probable ones, grow to the whole map, move with it and hold what they promise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.functional import heatmap_set, spatial_softmax, tail_mass, tail_mass_at
from softpoint.metrics.conformal import conformal_quantile


def maps(count: int) -> Tensor:
    return spatial_softmax(3 * torch.randn(count, 2, 9, 12))


def test_the_tail_is_the_mass_of_the_less_probable_cells() -> None:
    heatmap = torch.rand(3, 2, 5, 7, dtype=torch.float64)
    heatmap[0, 0, 1, 2:5] = heatmap[0, 0, 3, 3]  # equally probable cells
    heatmap /= heatmap.sum((-2, -1), keepdim=True)
    others = heatmap[..., None, None, :, :]
    less = torch.where(others < heatmap[..., None, None], others, 0).sum((-2, -1))
    expected = torch.where(heatmap == heatmap.amax((-2, -1), keepdim=True), 1, less)
    torch.testing.assert_close(tail_mass(heatmap), expected)


def test_sets_grow_with_their_mass_from_the_maximum_to_the_whole_map() -> None:
    heatmap, masses = maps(20), [0.0, 0.2, 0.5, 0.9, 0.99, 1.0]
    sets = [heatmap_set(heatmap, 1 - mass) for mass in masses]
    assert all((small <= large).all() for small, large in pairwise(sets))
    assert torch.equal(sets[0], heatmap == heatmap.amax((-2, -1), keepdim=True)) and sets[-1].all()
    for mass, cells in zip(masses, sets, strict=True):
        held = torch.where(cells, heatmap, 0).sum((-2, -1))
        assert ((held <= mass + 1e-5) | (cells.sum((-2, -1)) == 1)).all()
        least, most = torch.where(cells, heatmap, 1).amin((-2, -1)), torch.where(cells, 0, heatmap).amax((-2, -1))
        assert (least > most).all()  # no cell is left out that is more probable than one inside


def test_a_flat_map_and_a_certain_one_have_one_set() -> None:
    flat, certain = torch.full((1, 4, 4), 1 / 16), torch.zeros(1, 4, 4)
    certain[0, 1, 2] = 1
    for mass in (0.01, 0.9):
        assert heatmap_set(flat, 1 - mass).all()
        assert torch.equal(heatmap_set(certain, 1 - mass), certain > 0)


def test_a_set_moves_with_the_map() -> None:
    heatmap, points = maps(10), torch.rand(10, 2, 2) * torch.tensor([8.0, 5.0])
    moved = heatmap.roll((2, 3), (-2, -1))
    assert torch.equal(tail_mass(moved), tail_mass(heatmap).roll((2, 3), (-2, -1)))
    assert torch.equal(tail_mass_at(moved, points + torch.tensor([3.0, 2.0])), tail_mass_at(heatmap, points))


def test_a_point_is_held_where_its_cell_is_and_never_outside() -> None:
    heatmap, points = maps(200), torch.rand(200, 2, 2) * torch.tensor([14.0, 11.0]) - 1.5
    tail, bound = tail_mass_at(heatmap, points), torch.tensor([0.5, 0.05])  # one for each keypoint
    outside = ((points < -0.5) | (points >= torch.tensor([11.5, 8.5]))).any(-1)
    assert torch.equal(tail == -torch.inf, outside) and outside.any() and not outside.all()
    x, y = points.round().long().clamp_min(0).unbind(-1)
    cells = heatmap_set(heatmap, bound)
    held = cells[torch.arange(200)[:, None], torch.arange(2), y.clamp_max(8), x.clamp_max(11)]
    assert torch.equal(tail >= bound, held & ~outside)
    assert not heatmap_set(heatmap, float("nan")).any()
    assert (tail_mass_at(heatmap, points * torch.nan) == -torch.inf).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype: torch.dtype) -> None:
    heatmap = torch.full((64, 64), 2.0**-13, dtype=dtype)
    heatmap[0], heatmap[1] = 0, 2.0**-12
    tail = tail_mass(heatmap)
    assert tail.dtype == torch.float32 and tail[2, 0].item() == 0 and heatmap_set(heatmap, 0.2).sum() == 64


def test_tails_of_nearly_everything_differ() -> None:
    """Far from the peak of a sharp map, where masses are all 1 in float32."""
    heatmap = spatial_softmax(-(torch.arange(20.0) - 10).square().expand(1, 20))
    tail = tail_mass(heatmap)[0]
    assert (tail[1:10].diff() > 0).all() and 1 - tail[2] == 1
    assert heatmap_set(heatmap, 1e-20).nonzero()[:, 1].tolist() == [*range(5, 16)]


def test_sets_of_a_wrong_network_hold_labels_of_new_groups() -> None:
    """Maps show two likely places of a label, far too sharply; 300 splits of the groups fit and measure."""
    groups, each, level = 80, 3, 0.9
    torch.manual_seed(2)
    places = torch.rand(groups * each, 2, 2) * 20 + 2
    cells = torch.stack(torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="xy"), -1)
    distance = (cells[:, :, None] - places[:, None, None]).square().sum(-1)
    heatmap = spatial_softmax(1.5 * (-distance / 2).logsumexp(-1))
    spread = torch.randn(groups, 1).exp().repeat_interleave(each, 0)
    label = places[torch.arange(groups * each), torch.randint(2, (groups * each,))]
    score = -tail_mass_at(heatmap, label + spread * torch.randn(groups * each, 2)).numpy()
    unit, rng, held = np.arange(groups).repeat(each), np.random.default_rng(0), []
    for _ in range(300):
        fitted = np.isin(unit, rng.permutation(groups)[:29])
        held.append((score[~fitted] <= conformal_quantile(score[fitted], unit[fitted], level)).mean())
    assert level <= np.mean(held) <= level + 0.03
