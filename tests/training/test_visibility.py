"""A network learns which keypoints are absent and which are occluded, and locates the others as well as before."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor

from softpoint.data.synthetic.figure import Figure
from softpoint.functional import coordinate_l1, heatmap_ce, visibility_ce
from softpoint.metrics import visibility_scores
from softpoint.models import FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.training import CoordinateTerm, HeatmapTerm, KeypointLoss, Target, VisibilityTerm

pytestmark = pytest.mark.usefixtures("unchecked")

SIDE = 64
STEPS = 300
Windows = tuple[Tensor, Tensor, Tensor]


def windows(count: int, seed: int) -> Windows:
    """Images, keypoints and visibility of windows that cut larger scenes anywhere: nothing marks what they cut off."""
    rng, painter = np.random.default_rng(seed), Figure(difficulty=0.3)
    images, points, visibility = [], [], []
    for _ in range(count):
        scene = painter.draw(rng, (96, 96))
        x, y = rng.integers(0, 96 - SIDE + 1, 2)
        images.append(torch.from_numpy(scene.image[y : y + SIDE, x : x + SIDE]).permute(2, 0, 1))
        points.append(torch.from_numpy(scene.keypoints - [x, y]).float())
        visibility.append(torch.from_numpy(scene.visibility))
    return torch.stack(images), torch.stack(points), torch.stack(visibility)


def trained(images: Windows) -> KeypointNet:
    """The default network made small, trained by the default loss with its visibility term, in batches of 16."""
    torch.manual_seed(0)
    head = partial(SoftArgmaxHead, visibility=True)
    net = KeypointNet(13, Small(width=16), partial(FusionDecoder, channels=32), head)
    terms = {
        "heatmap_ce": HeatmapTerm(heatmap_ce, weight=1.0),
        "coordinate_l1": CoordinateTerm(coordinate_l1),
        "visibility": VisibilityTerm(visibility_ce),
    }
    loss, optimizer = KeypointLoss(terms), torch.optim.AdamW(net.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=STEPS, pct_start=0.1)
    for _ in range(STEPS):
        drawn = torch.randint(len(images[0]), (16,))
        image, points, seen = (part[drawn] for part in images)
        optimizer.zero_grad()
        target = Target.of(points, seen, (SIDE, SIDE), net.decoder.stride)
        loss(net(image), target)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


@pytest.mark.slow
def test_absent_and_occluded_points_are_recognized_and_the_others_located_as_well() -> None:
    shown, (image, points, seen) = windows(1000, seed=1), windows(200, seed=2)
    net = trained(shown)
    target = Target.of(points, seen, (SIDE, SIDE), net.decoder.stride)
    with torch.no_grad():
        result = net(image)
    scores = visibility_scores(result["visibility"], target.states)
    assert scores["absent_auroc"] > 0.95 and scores["occluded_auroc"] > 0.8
    assert scores["balanced_accuracy"] > 0.6  # a third is chance
    # Probabilities are frequencies: each state is expected about as often as it occurs.
    claimed = result["visibility"].softmax(-1).mean((0, 1))
    frequency = target.states.flatten().bincount() / target.states.numel()
    torch.testing.assert_close(claimed, frequency, atol=0.03, rtol=0)
    # Without the visibility term it is as large: 1.1 to 1.2 px over four seeds.
    assert (result["keypoints"] - points)[target.mask].norm(dim=-1).mean() < 1.5
