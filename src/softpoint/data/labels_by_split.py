"""Labels in three splits: what a run writes and warns of about them, and what a checkpoint keeps of them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softpoint.images.duplicates import across_splits, describe_leaks
from softpoint.images.scan import Scan
from softpoint.labels.groups import divided_groups
from softpoint.labels.load import LoadedLabels
from softpoint.labels.split import Split, images_of, split_labels, write_splits
from softpoint.paths import write_text

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelsBySplit:
    """Labeled samples, split by split, and after them those of no split."""

    loaded: LoadedLabels
    split: Split
    rows: dict[str, np.ndarray]  # of each split
    order: np.ndarray  # place of each sample in the label file

    @classmethod
    def of(cls, loaded: LoadedLabels, split: Split, seed: int) -> LabelsBySplit:
        """Return the samples in the order of their splits, see `split_labels`."""
        chosen = split_labels(loaded.labels, split, seed)
        used = np.concatenate([*chosen.values()])
        order = np.concatenate([used, np.setdiff1d(np.arange(len(loaded.labels)), used)])
        ends = np.cumsum([len(own) for own in chosen.values()]).tolist()
        rows = {name: np.arange(end - len(own), end) for (name, own), end in zip(chosen.items(), ends, strict=True)}
        return cls(loaded.select(order), split, rows, order)

    def part(self, split: str) -> LoadedLabels:
        """Return the samples of a split, as a view of all and no copy."""
        rows = self.rows[split]
        return self.loaded.select(slice(int(rows[0]), int(rows[-1]) + 1) if len(rows) else slice(0))

    @property
    def images(self) -> dict[str, list[str]]:
        """The image of each sample, by split."""
        return images_of(self.loaded.labels, self.rows)

    @property
    def as_written(self) -> LoadedLabels:
        """A copy of all samples in the order of the label file."""
        return self.loaded.select(np.argsort(self.order))

    def write(self, folder: Path) -> None:
        """Write splits.csv, and skipped.txt where rows were skipped; warn of images that two splits seem to share."""
        splits = {split: self.order[rows] for split, rows in self.rows.items()}
        write_splits(folder / "splits.csv", self.as_written.labels.images, splits)
        if skipped := self.loaded.errors.skipped:
            write_text(folder / "skipped.txt", "\n".join([*map(str, skipped), ""]))
        self._warn_of_divided_groups()
        self._warn_of_duplicates()

    def check_stored(self, stored: Mapping[str, Sequence[str]]) -> None:
        """Raise ValueError where a checkpoint `stored` another split: this one would test images that it learned."""
        for split, images in self.images.items():
            if moved := set(images) ^ set(stored.get(split, ())):
                raise ValueError(
                    f"the checkpoint was trained on another split: {len(moved)} images differ in {split}, first "
                    f"{min(moved)}; set data.splits to the splits.csv of its run, or start a new run"
                )

    def checksums(self) -> dict[str, str]:
        """Return digests of the values of the labels, of the boxes of crops, and of the pixels that were scanned."""
        written, scans = self.as_written, self.loaded.scans
        labels, boxes = written.labels, written.boxes
        digest = hashlib.sha256("\n".join(labels.images).encode())
        for array in (labels.keypoints, labels.visibility.astype(np.int64)):
            digest.update(np.ascontiguousarray(array).data)
        crops = {} if boxes is None else {"boxes": hashlib.sha256(np.ascontiguousarray(boxes).tobytes()).hexdigest()}
        return {"labels": digest.hexdigest()} | crops | ({"images": digest_of_pixels(scans)} if scans else {})

    def _warn_of_divided_groups(self) -> None:
        labels = self.loaded.labels
        if (divided := divided_groups(labels, self.rows, self.split)) is None:
            return
        first, train = (labels.images[row] for row in divided.example)
        level = logging.WARNING if divided.found.certain else logging.INFO
        advice = divided.advice(self.split.splits)
        _log.log(level, "%s, such as %s and %s; %s", divided.message, first, train, advice)

    def _warn_of_duplicates(self) -> None:
        if not (scans := self.loaded.scans):
            return
        place = {image: i for i, image in enumerate(scans)}
        rows = {split: sorted({place[image] for image in images}) for split, images in self.images.items()}
        if leaks := across_splits(list(scans.values()), rows):
            _log.warning("%s", describe_leaks(leaks))


def digest_of_pixels(scans: Mapping[str, Scan]) -> str:
    """Return a digest of the names and pixels of images."""
    lines = (f"{name} {scans[name].digest}" for name in sorted(scans))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
