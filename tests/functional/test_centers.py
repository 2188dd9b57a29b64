"""Maps of centers: their targets, their cross-entropy and its minimum, and the peaks that are read from them."""

import pytest
import torch
from torch.testing import assert_close

from softpoint.functional import boxes_l1, center_targets, centers_ce, find_centers, image_to_grid, in_boxes

BOXES = torch.tensor([[[10.0, 12.0, 30.0, 52.0], [60.0, 20.0, 90.0, 44.0]]])


def centers(boxes):
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def perfect_maps(boxes, size=(16, 32), stride=4, sigma=1.0):
    """The maps at which both losses are at their minimum."""
    mass, owner = center_targets(image_to_grid(centers(boxes), stride), sigma, size)
    y, x = torch.meshgrid(*(torch.arange(n) for n in size), indexing="ij")
    cells = (torch.stack([x, y], -1) + 0.5) * stride - 0.5
    own = boxes[0][owner[0]]
    sides = own[..., 2:] - own[..., :2]
    maps = torch.cat([(centers(own) - cells) / sides, (sides / stride).log()], -1)
    return mass.clamp_min(1e-12).log()[:, None], maps.permute(2, 0, 1)[None], mass, owner


def test_each_subject_has_a_mass_of_one_and_one_outside_has_none():
    anchors = torch.tensor([[[3.0, 4.0], [-0.4, 0.0], [99.0, 3.0], [float("nan")] * 2]])
    mass, owner = center_targets(anchors, 1.0, (8, 8))
    assert_close(mass.sum(), torch.tensor(2.0))
    assert set(owner.unique().tolist()) == {0, 1}


def test_an_image_without_subjects_has_no_mass_and_no_owner():
    mass, owner = center_targets(torch.full((2, 0, 2), 0.0), 1.0, (4, 4))
    assert mass.sum() == 0 and (owner == -1).all()


def test_the_nearest_of_many_subjects_owns_a_cell():
    """However many there are, a part of them outside; of several that are as near the first."""
    torch.manual_seed(0)
    anchors = (torch.rand(2, 45, 2) * 12 - 2).round()
    anchors[0, ::3], anchors[1, 40:] = torch.nan, anchors[1, :5]
    _, owner = center_targets(anchors, 1.0, (8, 9))
    inside = ((anchors > -1) & (anchors < torch.tensor([9.0, 8]))).all(-1)
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    distance = (torch.stack([x, y], -1)[None, None] - anchors[:, :, None, None]).square().sum(-1)
    assert torch.equal(owner, distance.where(inside[..., None, None], torch.inf).argmin(1))


@pytest.mark.parametrize("count", [0, 1, 2])
def test_at_the_minimum_the_exponential_of_the_logits_is_the_mass_however_many_there_are(count):
    """The gradient is 0 there: so the numbers are absolute, and a threshold of one image fits all others."""
    mass, _ = center_targets(image_to_grid(centers(BOXES)[:, :count], 4), 1.0, (16, 32))
    logits = mass.clamp_min(1e-9).log().requires_grad_()
    centers_ce(logits, mass, torch.ones_like(mass).bool()).sum().backward()
    assert logits.grad.abs().max() < 1e-5


def test_cells_that_do_not_count_have_no_gradient():
    mass, _ = center_targets(torch.tensor([[[3.0, 2.0]]]), 0.7, (8, 16))
    counts = torch.ones_like(mass).bool()
    counts[..., 8:] = False
    mass = mass.where(counts, 0)
    logits = torch.randn(1, 8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    centers_ce(logits, mass, counts).sum().backward()
    assert (logits.grad[..., 8:] == 0).all() and (logits.grad[..., :8] != 0).all()


def test_gradients():
    logits = torch.randn(2, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    mass, _ = center_targets(torch.tensor([[[1.0, 1.0]], [[2.0, 0.0]]], dtype=torch.float64), 0.8, (3, 4))
    assert torch.autograd.gradcheck(lambda z: centers_ce(z, mass, torch.ones(2, 3, 4).bool()), (logits,))


def test_boxes_without_error_cost_nothing_and_a_factor_costs_its_logarithm():
    _, maps, mass, owner = perfect_maps(BOXES)
    assert boxes_l1(maps, BOXES, mass, owner, 4).item() < 1e-4
    maps[:, 3] += 0.5
    assert_close(boxes_l1(maps, BOXES, mass, owner, 4).item(), 1.0, rtol=1e-4, atol=1e-4)  # of two subjects


def test_what_is_rendered_is_read_again():
    logits, maps, *_ = perfect_maps(BOXES)
    expected, boxes = find_centers(logits, maps, stride=4, count=5)
    assert ((expected[0, :2] > 0.9) & (expected[0, :2] <= 1)).all() and expected[0, 2:].max() < 1e-3
    order = boxes[0, :2, 0].argsort()
    assert_close(boxes[0, :2][order], BOXES[0], rtol=0, atol=1e-3)


def test_finds_move_with_the_image():
    logits, maps, *_ = perfect_maps(BOXES)
    shifted = find_centers(logits.roll(3, -1), maps.roll(3, -1), stride=4, count=2)[1]
    assert_close(shifted, find_centers(logits, maps, stride=4, count=2)[1] + torch.tensor([12.0, 0, 12, 0]))


def test_cells_in_boxes_are_those_whose_center_is():
    inside = in_boxes(torch.tensor([[[1.5, 1.5, 5.4, 5.5], [float("nan")] * 4]]), (3, 3), stride=4)
    assert inside[0].tolist() == [[True, False, False], [True, False, False], [False, False, False]]
    assert not in_boxes(torch.zeros(1, 0, 4), (2, 2), 4).any()
