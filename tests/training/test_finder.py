"""The training of a finder: what teaches it, what it learns, and the probability that its score becomes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch.testing import assert_close

from softpoint.data.loaders import collate_scenes
from softpoint.data.scene_samples import SceneSamples
from softpoint.data.scenes import Scene
from softpoint.inference.finding import Finds
from softpoint.labels.skeleton import Skeleton
from softpoint.models import Finder, FusionDecoder, KeypointNet, Small, SoftArgmaxHead
from softpoint.training.finder_fit import FinderErrors, FinderRates, calibrate_finder, find_errors, fit_score
from softpoint.training.finder_loss import FinderLoss
from softpoint.types import CenterMaps

NAN = float("nan")


def batch(**parts):
    usual = {
        "image": torch.zeros(1, 3, 16, 24, dtype=torch.uint8),
        "anchors": torch.tensor([[[6.0, 6.0], [NAN, NAN]]]),
        "boxes": torch.tensor([[[2.0, 2.0, 10.0, 10.0], [NAN] * 4]]),
        "ignored": torch.tensor([[[12.0, -1.0, 20.0, 20.0]]]),
        "complete": torch.tensor([True]),
    }
    return {**usual, **parts}


def test_ignored_regions_teach_nothing_and_all_else_that_there_is_no_subject():
    places = FinderLoss.places(batch(), (4, 6), 4)[0]
    assert places.tolist() == [[True, True, True, False, False, True]] * 4


def test_of_an_incomplete_image_only_places_in_boxes_teach():
    places = FinderLoss.places(batch(complete=torch.tensor([False])), (4, 6), 4)[0]
    assert places.nonzero().tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]  # whose centers are at 5.5 and 9.5


def gradient(**parts):
    """Where the loss of centers pushes logits, in cells (h, w), beyond three deviations about the anchors."""
    logits = torch.zeros(1, 1, 20, 24, requires_grad=True)
    scene = batch(**parts)
    maps = CenterMaps(logits, torch.zeros(1, 4, 20, 24))
    loss = FinderLoss()
    loss(maps, scene, 4, loss.count(scene))["centers"].backward()
    return logits.grad[0, 0] != 0


def test_nothing_is_learned_in_a_crowd_beyond_the_peak_of_a_labeled_subject():
    crowd = torch.tensor([[[40.0, 0.0, 96.0, 80.0]]])
    pushed = gradient(
        anchors=torch.tensor([[[20.0, 40.0]]]), boxes=torch.tensor([[[10.0, 30.0, 30.0, 50.0]]]), ignored=crowd
    )
    assert not pushed[:, 10:].any() and pushed[:, :9].all()


def test_of_an_incomplete_image_nothing_is_learned_outside_of_boxes():
    box = torch.tensor([[[20.0, 20.0, 59.0, 59.0]]])
    pushed = gradient(
        anchors=torch.tensor([[[39.5, 39.5]]]), boxes=box, ignored=torch.zeros(1, 0, 4), complete=torch.tensor([False])
    )
    assert pushed.sum() == 100 and pushed[5:15, 5:15].all()


def test_the_divisor_counts_subjects_and_images():
    assert FinderLoss().count(batch()) == 2


def test_a_weight_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match=r"finder.sigma=0 must be positive"):
        FinderLoss(sigma=0)


def test_the_fit_returns_the_logistic_function_that_the_finds_came_from():
    rng = np.random.default_rng(0)
    expected = np.exp(rng.uniform(-4, 0.5, 20_000))
    hit = rng.random(len(expected)) < expit(2.5 * np.log(expected) + 1.5)
    slope, offset = fit_score(FinderErrors(expected, hit, 0, 1))
    assert_close([slope, offset], [2.5, 1.5], rtol=0, atol=0.12)


def test_finds_that_are_all_right_leave_a_finite_fit():
    slope, offset = fit_score(FinderErrors(np.full(8, 0.9), np.ones(8, bool), 8, 4))
    assert np.isfinite([slope, offset]).all() and expit(slope * np.log(0.9) + offset) > 0.6


class Squares:
    """Images with up to three bright squares."""

    skeleton = Skeleton(("middle",))

    def __len__(self):
        return 8

    def load_scene(self, epoch, index):
        rng = np.random.default_rng([3, index])
        image, boxes = rng.integers(0, 60, (64, 96, 3), dtype=np.uint8), []
        for place in rng.permutation(6)[: index % 4]:
            x, y = 12 + 32 * (place % 3) + rng.integers(0, 6), 12 + 30 * (place // 3) + rng.integers(0, 6)
            image[y - 8 : y + 8, x - 8 : x + 8] = 230
            boxes.append([x - 8.5, y - 8.5, x + 7.5, y + 7.5])
        boxes = np.array(boxes, float).reshape(-1, 4)
        points = ((boxes[:, :2] + boxes[:, 2:]) / 2)[:, None]
        return Scene(image, (64, 96), points, np.full((len(boxes), 1), 2), boxes, np.empty((0, 4)), "")

    describe_scene = load_scene


def test_a_thin_box_that_is_a_little_off_is_the_subject(monkeypatch):
    """Of a box 16 px wide found as one of 7 px, less than half is shared; one beside it is another subject."""
    scenes = Squares()
    (box,) = scenes.load_scene(0, 1).boxes

    def found(net, images):
        thin, beside = np.add(box, [0, 4.5, 0, -4.5]), np.add(box, [16, 0, 16, 0])
        return [Finds(np.array([thin, beside]), np.array([0.9, 0.8]), np.zeros(2))]

    monkeypatch.setattr("softpoint.training.finder_fit.find", found)
    net = SimpleNamespace(calibration=SimpleNamespace(radius=torch.zeros(1)))
    errors = find_errors(net, SceneSamples(scenes, (64, 96)), [1])
    assert errors.hit.tolist() == [True, False] and errors.subjects == 1


def test_a_network_learns_to_find_any_number_of_squares_and_none_where_there_is_none():
    torch.manual_seed(0)
    net = KeypointNet(
        1,
        Small(width=8, stages=(2, 3, 4)),
        lambda **sizes: FusionDecoder(channels=16, **sizes),
        SoftArgmaxHead,
        finder=lambda **given: Finder(decoder=lambda **sizes: FusionDecoder(channels=16, **sizes), **given),
    )
    samples = SceneSamples(Squares(), (64, 96))
    everything = collate_scenes([samples[i] for i in range(len(samples))])
    loss, optimizer = FinderLoss(), torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        values = loss(net.find(everything["image"]), everything, net.finder.stride, loss.count(everything))
        optimizer.zero_grad()
        loss.total(values).backward()
        optimizer.step()
    net.eval()
    errors = find_errors(net, samples, range(len(samples)))
    rates = FinderRates(*errors.counts(0.5).tolist()).to_dict()
    assert rates["find_recall"] == rates["find_precision"] == 1 and rates["false_finds"] == 0
    line = calibrate_finder(net, samples, 100)
    assert f"finds {errors.subjects} of their {errors.subjects} subjects, and 0 where" in line
    assert net.finder.score(torch.tensor([1.0, 0.01]))[0] > 0.6 > net.finder.score(torch.tensor([0.01]))[0]
