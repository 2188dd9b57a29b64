"""A streamed set gives the samples of its images and labels, and a resumed training continues exactly."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from helpers.data import same
from helpers.streaming import SEED, equal, open_streamed
from helpers.training import SMALL, built, composed
from softpoint.data import LabeledData
from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.shards.streaming import StreamedData
from softpoint.data.shards.writer import pack
from softpoint.data.sources import LabeledImages
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split import SPLITS

pytest.importorskip("litdata")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*exists and is not empty.*"
)


def order_of(data: StreamedData, source: LabeledImages) -> list[int]:
    """Return the row of the labels of each packed training sample, by the path of its image."""
    shards = data.sources["train"].shards
    paths = [shards.read(index).path for index in range(len(shards))]
    return [source.labels.images.index(path) for path in paths]


def test_a_packed_set_keeps_every_image_file_and_label(labeled: LabeledData, packed: Path) -> None:
    data = open_streamed(packed)
    assert len(list((packed / "train").glob("*.bin"))) >= 4
    for split, source in labeled.sources.items():
        streamed = data.sources[split]
        rows = order_of(data, source) if split == "train" else list(range(len(source)))
        assert sorted(rows) == list(range(len(source))) and len(streamed) == len(source)
        for index, row in enumerate(rows):
            sample, record, expected = streamed.shards.read(index), streamed.load(0, index), source.load(0, row)
            assert sample.image == labeled.loaded.image_folder.path(source.labels.images[row]).read_bytes()
            assert np.array_equal(record.image, expected.image)
            assert np.array_equal(record.keypoints, expected.keypoints, equal_nan=True)
            assert np.array_equal(record.visibility, expected.visibility)
            assert (record.size, record.scale, record.group) == (expected.size, expected.scale, expected.group)
            assert record.box is None and streamed.describe(index).image.size == 0
    assert data.skeleton == labeled.skeleton and data.summary == labeled.summary


def test_workers_and_an_address_change_no_batch(packed: Path, far: dict[str, Any]) -> None:
    expected = list(open_streamed(packed).train_dataloader())
    for place, workers in (({"folder": packed}, 1), ({"folder": packed}, 2), (far, 0), (far, 2)):
        batches = list(open_streamed(**place, num_workers=workers).train_dataloader())
        assert len(batches) == len(expected) > 3 and all(map(same, batches, expected))


def test_a_source_can_be_sent_to_another_process(packed: Path, far: dict[str, Any]) -> None:
    for data in (open_streamed(packed), open_streamed(**far)):
        source = data.sources["train"]
        image = source.load(0, 3).image
        assert np.array_equal(pickle.loads(pickle.dumps(source)).load(0, 3).image, image)


def test_training_samples_are_packed_in_random_order(labeled: LabeledData, packed: Path) -> None:
    rows = order_of(open_streamed(packed), labeled.sources["train"])
    assert rows == np.random.default_rng(SEED).permutation(len(rows)).tolist() != sorted(rows)


def test_samples_equal_those_of_the_unpacked_set(labeled: LabeledData, packed: Path) -> None:
    data = open_streamed(packed)
    source = labeled.sources["train"]
    rows = order_of(data, source)
    shuffled = LabeledImages(
        labeled.labels.select(labeled.splits["train"]).select(rows), source.sizes[rows], source.reader
    )
    plain = KeypointDataset(shuffled, (64, 64), (0, 0), Augment(rotate=30))
    for draw in (Draw(0, 0), Draw(0, 7), Draw(5, 7), Draw(2, len(rows) - 1)):
        assert same(data.dataset("train")[draw], plain[draw])
    assert not same(plain[Draw(0, 7)], plain[Draw(5, 7)])
    for split in ("val", "test"):
        assert equal(data.dataset(split), labeled.dataset(split))


class Diary(Callback):
    """Records the batches, and interrupts the run before batch `stop`."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.pages = stop, []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.stop:
            raise InterruptedError
        image = batch["image"].double().sum().item()
        self.pages.append((trainer.current_epoch, batch_idx, batch["index"].tolist(), image))


def fit(packed: Path, folder: Path, *more: str, stop: int | None = None) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """Return the batches of a training of two epochs of five batches, and its weights."""
    words = ["data=streaming", f"data.folder={packed}", "backbone=small", "backbone.width=8", "trainer.max_epochs=2",
             "data.size=32", "data.batch_size=4", "~logger.tensorboard", "~callbacks.lr_monitor"]  # fmt: skip
    module, data, trainer = built(cfg := composed("train", [*SMALL, *words, *more], folder))
    trainer.callbacks.append(diary := Diary(stop))
    try:
        trainer.fit(module, data, ckpt_path=cfg.resume, weights_only=True)
    except InterruptedError:
        assert stop is not None
    return diary.pages, module.net.state_dict()


@pytest.fixture(scope="module")
def whole(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, torch.Tensor]]:
    return fit(packed, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("stop", "workers", "when"),
    [(7, 1, 7), (5, 0, "null")],
    ids=["middle", "end"],
)
def test_a_resumed_training_equals_an_uninterrupted_one(
    packed: Path, whole: tuple[list[Any], dict[str, Any]], tmp_path: Path, stop: int, workers: int, when: int | str
) -> None:
    pages, end = whole
    assert [page[:2] for page in pages] == [(epoch, batch) for epoch in range(2) for batch in range(5)]
    words = [f"data.num_workers={workers}", f"checkpoint_every.steps={when}"]
    first, _ = fit(packed, tmp_path, *words, stop=stop)
    second, resumed = fit(packed, tmp_path, *words, f"resume={tmp_path / 'checkpoints' / 'last.ckpt'}")
    assert first == pages[:stop] and second == pages[stop:]
    assert all(torch.equal(resumed[key], end[key]) for key in end)


def test_overfitting_repeats_the_same_batch(packed: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="turning off the (train|val) dataloader shuffling"):
        pages, _ = fit(packed, tmp_path, "trainer.overfit_batches=1", "augment=none")
    assert [page[:2] for page in pages] == [(0, 0), (1, 0)]
    assert pages[0][2] == pages[1][2] == [0, 1, 2, 3]


def test_a_checkpoint_of_another_set_is_refused(labeled: LabeledData, packed: Path, tmp_path: Path) -> None:
    state = open_streamed(packed).state_dict()
    open_streamed(packed).load_state_dict(state)
    pack(labeled.sources, tmp_path / "other", 0.05, SEED + 1, False)
    with pytest.raises(ValueError, match=r"was not trained on the set at .*other: .*set data.folder to that set"):
        open_streamed(tmp_path / "other").load_state_dict(state)


def test_mean_position_is_that_of_the_labels(labeled: LabeledData, tmp_path: Path) -> None:
    pack(labeled.sources, tmp_path / "one", 64, SEED, False)
    np.testing.assert_allclose(open_streamed(tmp_path / "one").mean_position(), labeled.mean_position())


def test_each_subject_is_a_sample_with_its_box(labeled: LabeledData, tmp_path: Path) -> None:
    image, size = labeled.labels.images[0], labeled.loaded.sizes[0]
    points = np.array([[3.0, 4.0], [20.0, 30.0], [np.nan, np.nan]])
    subjects = tuple(
        Subject(image, str(i), points + i, np.array([2, 1, 0]), (1.5 + i, 2.5, 24.5, 33.5 + i), name=str(i))
        for i in range(3)
    )
    labels = Labels("here", "", Skeleton(("a", "b", "c")), subjects)
    source = LabeledImages(labels, np.tile(size, (3, 1)), labeled.loaded.image_folder, labels.boxes - 0.5)
    pack(dict.fromkeys(SPLITS, source), tmp_path / "set", 1, 0, True)
    data = open_streamed(tmp_path / "set", padding=2.0)
    assert data.has_hidden_points and data.padding == 2.0 and data.crops == {"padding": 2.0, "boxes": None}
    for index in range(3):
        record, expected = data.sources["val"].load(0, index), source.load(0, index)
        assert np.array_equal(record.box, expected.box) and record.scale == expected.scale
        assert np.array_equal(record.visibility, [2, 1, 0])
    plain = KeypointDataset(source, (64, 64), (0, 1), None, 2.0)
    assert equal(data.dataset("val"), plain)


def test_an_image_without_a_file_is_packed_as_png(labeled: LabeledData, tmp_path: Path) -> None:
    class Frames:
        channel_count = 3

        def read(self, image: str) -> np.ndarray:
            return labeled.loaded.image_folder.read(image)[::-1]

    source = LabeledImages(labeled.sources["val"].labels, labeled.sources["val"].sizes, Frames())
    pack(dict.fromkeys(SPLITS, source), tmp_path / "set", 1, 0, False)
    data = open_streamed(tmp_path / "set")
    assert data.sources["val"].shards.read(1).image[:4] == b"\x89PNG"
    assert np.array_equal(data.sources["val"].load(0, 1).image, source.load(0, 1).image)
