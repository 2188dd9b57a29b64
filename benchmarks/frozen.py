"""Trainings of decoder, attention and head in seconds, on features of a fixed backbone that are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import Tensor, nn

from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.geometry import transform
from softpoint.data.loaders import collate
from softpoint.data.sources import LabeledImages
from softpoint.images.scan import fingerprint
from softpoint.inference.batch.sources import ImageSource
from softpoint.inference.batch.stream import Item
from softpoint.inference.predictor import Predictor
from softpoint.labels.load import load_labels
from softpoint.labels.partition import evenly_spaced
from softpoint.labels.schema import Labels
from softpoint.labels.split import read_splits
from softpoint.metrics.calibration import FRACTION
from softpoint.models import KeypointNet
from softpoint.selection.candidates import Candidate, Reading, as_candidate
from softpoint.training.calibrate import calibrate
from softpoint.training.target import Target

_COPIES, _BATCH = 3, 8  # augmented copies of an image; images of a step
_PLAIN = -1  # the copy without augmentation


class Recorded(nn.Module):
    """Stands for a backbone, and returns the features that it was given last."""

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.stages, self.stride, self.out_channels = backbone.stages, backbone.stride, backbone.out_channels
        self.mean, self.std = backbone.mean, backbone.std
        self.features: list[Tensor] = []

    def forward(self, image: Tensor) -> list[Tensor]:
        return list(self.features)


class FrozenSet:
    """A labeled set whose images went through the backbone once: as they are, and augmented.

    Of a set of more than `pool` + `test` images, these many are taken, `test` of them from its test split.
    """

    def __init__(self, cfg: DictConfig, pool: int, test: int) -> None:
        self.loaded = load_labels(instantiate(cfg.datamodule.source))
        self.labels, self.source = self.loaded.labels, self.labeled(self.loaded.labels)
        self.rows, self.test = list(range(len(self.labels))), list[int]()
        if len(self.labels) > pool + test:
            splits = read_splits(cfg.data.splits, self.labels.images)
            others = [*splits["train"], *splits["val"]]
            self.test = [int(splits["test"][i]) for i in evenly_spaced(len(splits["test"]), test)]
            self.rows = [*(int(others[i]) for i in evenly_spaced(len(others), pool)), *self.test]
        data = instantiate(cfg.datamodule)
        data.prepare_data()
        data.setup("fit")
        self.size: tuple[int, int] = data.size
        self.module = instantiate(cfg.module, _partial_=True)
        self.real = self.module(self.labels.skeleton).net.backbone.eval().requires_grad_(False)
        self.features: dict[tuple[int, int], list[Tensor]] = {}
        self.matrices: dict[tuple[int, int], Tensor] = {}  # from the input to the image
        self.prints: dict[int, int] = {}
        self._record(instantiate(cfg.data.augment))

    def labeled(self, labels: Labels) -> LabeledImages:
        """Return the images with other labels."""
        return LabeledImages(labels, self.loaded.sizes, self.loaded.image_folder)

    @torch.no_grad()
    def _record(self, augment: Any) -> None:
        plain, changed = (KeypointDataset(self.source, self.size, (0,), augment=one) for one in (None, augment))
        normalize = self.module(self.labels.skeleton).net.normalize
        for row in self.rows:
            samples = [plain[row], *(changed[Draw(copy, row)] for copy in range(_COPIES))]
            batch = collate(samples)
            maps = self.real(normalize(batch["image"]))
            for i, copy in enumerate((_PLAIN, *range(_COPIES))):
                self.features[row, copy] = [one[i].clone() for one in maps]
                self.matrices[row, copy] = batch["matrix"][i]
            self.prints[row] = int(fingerprint(batch["image"][0].permute(1, 2, 0).contiguous().numpy()) or "0", 16)

    def train(self, labels: Labels, fit: Sequence[int], val: Sequence[int], steps: int, seed: int) -> KeypointNet:
        """Return a network that was trained on the rows `fit` of labels and calibrated on `val`."""
        torch.manual_seed(seed)
        build = partial(self.module.keywords["net"], backbone=Recorded(self.real))
        module = self.module(labels.skeleton, net=build)
        net, rng = module.net.train(), np.random.default_rng(seed)
        optimizer = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0.01)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
        rounds = (row for _ in iter(int, 1) for row in rng.permutation(fit).tolist())
        for step in range(steps):
            keys = [(next(rounds), int(rng.integers(_COPIES))) for _ in range(_BATCH)]
            target = self._target(labels, keys, net.decoder.stride, step / steps)
            loss = module.loss(self._forward(net, keys), target)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        return self._calibrated(net.eval(), labels, val)

    def _forward(self, net: Any, keys: Sequence[tuple[int, int]]) -> Any:
        net.backbone.features = [torch.stack(maps) for maps in zip(*(self.features[key] for key in keys), strict=True)]
        return net(torch.zeros(len(keys), 3, *self.size))

    def _target(self, labels: Labels, keys: Sequence[tuple[int, int]], stride: int, progress: float) -> Target:
        pairs = ((labels.subjects[row].keypoints, self.matrices[row, copy].numpy()) for row, copy in keys)
        points = [np.nan_to_num(transform(own, np.linalg.inv(matrix.astype(float)))) for own, matrix in pairs]
        states = np.stack([labels.subjects[row].visibility for row, _ in keys])
        inputs = torch.from_numpy(np.stack(points)).float()
        return Target.of(inputs, torch.from_numpy(states), self.size, stride, progress)

    def _calibrated(self, net: Any, labels: Labels, val: Sequence[int]) -> KeypointNet:
        """Return the network, calibrated through the backbone itself, which sees shifted images, too."""
        own = LabeledImages(labels.select(val), self.loaded.sizes[list(val)], self.loaded.image_folder)
        recorded, net.backbone = net.backbone, self.real
        calibrate(net, KeypointDataset(own, self.size, (0,), unrounded=True), FRACTION, len(val))
        net.backbone = recorded
        kept: KeypointNet = net
        return kept

    def predict(self, net: KeypointNet, rows: Sequence[int]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the explained prediction in each image, with the mean of the coarsest features."""
        predictor = Predictor(net, self.labels.skeleton, self.size, "cpu", explain=True)
        for start in range(0, len(rows), 32):
            keys = [(row, _PLAIN) for row in rows[start : start + 32]]
            with torch.inference_mode():
                prediction = self._forward(net, keys)
            result = predictor.postprocess(prediction, torch.stack([self.matrices[key] for key in keys]))
            for i, key in enumerate(keys):
                coarsest = self.features[key][-1].mean((-2, -1)).numpy()
                yield {**{name: value[i] for name, value in result.items()}, "features": coarsest}

    def candidates(self, net: KeypointNet, rows: Sequence[int]) -> list[Candidate]:
        """Return the images as `softpoint suggest` sees them; their numbers are the rows."""
        source, reading = ImageSource(self.loaded.image_folder.folder, ()), Reading(FRACTION)
        found = []
        for row, prediction in zip(rows, self.predict(net, rows), strict=True):
            height, width = self.loaded.sizes[row].tolist()
            item = Item(row, self.labels.images[row], float("nan"), None, None, "", (height, width))
            found.append(as_candidate(source, item, [prediction], self.prints[row], reading))
        return found
