"""A finder measured on validation images, and its score fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.utilities import move_data_to_device
from torch.utils.data import Subset

from softpoint.data.loaders import collate_scenes
from softpoint.data.scene_samples import SceneSamples
from softpoint.data.watched_loader import WatchedLoader
from softpoint.inference.finding import find, in_regions, matched_finds
from softpoint.inference.predictor import Predictor
from softpoint.inference.subjects import SubjectFinder, SubjectPredictor
from softpoint.labels.boxes import squares
from softpoint.labels.partition import evenly_spaced
from softpoint.models import KeypointNet

BATCH_SIZE = 8

# The fit before any image: a half where half a subject is expected, as if so many finds had shown it.
_SLOPE, _OFFSET, _WEIGHT = 4.0, 4.0 * np.log(2), 4.0


class FinderErrors(NamedTuple):
    """What a finder finds in some images: D finds of M labeled subjects."""

    expected: np.ndarray  # (D,), number of subjects that the network expects at each find
    hit: np.ndarray  # bool (D,), whether it is a labeled subject
    subjects: int  # M
    images: int

    def counts(self, threshold: float) -> torch.Tensor:
        """Return the numbers of `FinderRates`, of finds from an expected number on; those of all processes add up."""
        kept = self.expected >= threshold
        return torch.tensor([self.hit[kept].sum(), kept.sum(), self.subjects, self.images], dtype=torch.float64)


class FinderRates(NamedTuple):
    """Numbers of right finds, of all finds, of labeled subjects, and of images."""

    right: float
    found: float
    subjects: float
    images: float

    def to_dict(self) -> dict[str, float]:
        """Return recall, precision and the number of false finds per image."""
        return {
            "find_recall": self.right / max(self.subjects, 1),
            "find_precision": self.right / max(self.found, 1),
            "false_finds": (self.found - self.right) / max(self.images, 1),
        }


def subject_predictor(module: Any, data: Any, threshold: float = 0.5) -> SubjectPredictor:
    """Return what finds and reads subjects by the network of a module in training, in the inputs of its data."""
    height, width = data.size
    predictor = Predictor(module.net, module.skeleton, (height, width), module.device, data.crops)
    return SubjectPredictor(predictor, SubjectFinder(module.net, data.finding_size, threshold))


def find_errors(net: KeypointNet, samples: SceneSamples, indices: Sequence[int]) -> FinderErrors:
    """Return the finds of `net` in these samples, not counting any where nothing is known about subjects.

    A find is a subject where the square about its box overlaps that of a labeled one by half, by intersection over
    union (`matched_finds`): the overlap of thin boxes says little about whether a crop shows the subject.
    """
    device = net.calibration.radius.device
    expected, hit, subjects = [np.empty(0)], [np.empty(0, bool)], 0
    for batch in WatchedLoader(Subset(samples, indices), BATCH_SIZE, collate_fn=collate_scenes):
        images = move_data_to_device(batch["image"], device)
        for i, finds in enumerate(find(net, images)):
            truth, ignored = (_rows(batch[name][i]) for name in ("boxes", "ignored"))
            matched = matched_finds(squares(finds.boxes), squares(truth)) >= 0
            known = ~in_regions(finds.boxes, ignored)
            known &= bool(batch["complete"][i]) | in_regions(finds.boxes, truth)
            counts = matched | known
            expected.append(finds.expected[counts])
            hit.append(matched[counts])
            subjects += len(truth)
    return FinderErrors(np.concatenate(expected), np.concatenate(hit), subjects, len(indices))


def fit_score(errors: FinderErrors) -> tuple[float, float]:
    """Return slope and offset of the logistic function of the log of an expected number, most likely for the finds.

    >>> fit_score(FinderErrors(np.empty(0), np.empty(0, bool), 0, 0))
    (4.0, 2.772588722239781)
    """
    if not len(errors.hit):
        return _SLOPE, float(_OFFSET)
    x, y = np.log(errors.expected), errors.hit.astype(float)

    def loss(fit: np.ndarray) -> float:
        z = fit[0] * x + fit[1]
        prior = _WEIGHT * (np.log(max(fit[0], 1e-9) / _SLOPE) ** 2 + (fit[1] / fit[0] - _OFFSET / _SLOPE) ** 2)
        return float((np.logaddexp(0, z) - y * z).sum() + prior)

    bounds = [(0.25, 25), (None, None)]
    slope, offset = scipy.optimize.minimize(loss, [_SLOPE, _OFFSET], bounds=bounds, method="L-BFGS-B").x
    return float(slope), float(offset)


def calibrate_finder(net: KeypointNet, samples: SceneSamples, images: int) -> str:
    """Fit the score of the finder of `net` to samples, at most `images` of them, and return a sentence about it."""
    assert net.finder is not None
    errors = find_errors(net, samples, evenly_spaced(len(samples), images))
    net.finder.calibration.copy_(torch.tensor(fit_score(errors)))
    likely = net.finder.score(torch.from_numpy(errors.expected).to(net.finder.calibration)).cpu().numpy() >= 0.5
    right = int(errors.hit[likely].sum())
    return (
        f"score of a find: the probability that it is a subject, fitted on {errors.images} images; from 0.5 on it finds"
        f" {right} of their {errors.subjects} subjects, and {int(likely.sum()) - right} where there is none"
    )


class ValidateFinder(Callback):
    """Logs val/find_recall, val/find_precision and val/false_finds in each validation, of networks with a finder.

    Args:
        images: largest number of validation images that are searched, evenly spaced.
    """

    def __init__(self, images: int = 100) -> None:
        self.images = images

    def on_validation_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        # Before the batches, because the averaged weights are put back after them.
        data = trainer.datamodule
        if trainer.sanity_checking or pl_module.net.finder is None or not len(data.scenes.get("val", ())):
            return
        samples = data.scene_samples("val")
        own = evenly_spaced(len(samples), self.images)[trainer.global_rank :: trainer.world_size]
        counts = find_errors(pl_module.net, samples, own).counts(0.5).to(pl_module.device)
        rates = FinderRates(*trainer.strategy.reduce(counts, reduce_op="sum").tolist())
        pl_module.log_dict({f"val/{name}": value for name, value in rates.to_dict().items()}, sync_dist=True)


def _rows(boxes: torch.Tensor) -> np.ndarray:
    """Return those of the boxes (N, 4) that are not NaN."""
    rows = boxes.double().numpy()
    return np.asarray(rows[np.isfinite(rows).all(1)])
