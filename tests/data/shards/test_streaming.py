"""A streamed set gives what its images and labels give, in an order that can be cut anywhere, to whoever asks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.callbacks import Callback

from helpers.data import labeled_data
from helpers.streaming import SEED, equal, opened, same
from helpers.training import SMALL, built, composed, write_labels
from softpoint.data import LabeledData
from softpoint.data.augment import Augment
from softpoint.data.dataset import Draw, KeypointDataset
from softpoint.data.shards.order import ChunkSampler, shuffle_by_chunk
from softpoint.data.shards.sample import FIELDS
from softpoint.data.shards.streaming import StreamedData
from softpoint.data.shards.writer import pack
from softpoint.data.sources import LabeledImages
from softpoint.labels.schema import Labels, Subject
from softpoint.labels.skeleton import Skeleton
from softpoint.labels.split_file import SPLITS

pytest.importorskip("litdata")

pytestmark = pytest.mark.filterwarnings(
    "ignore:.*LeafSpec.*", "ignore:.*many workers.*", "ignore:.*exists and is not empty.*"
)


def order_of(data: StreamedData, source: LabeledImages) -> list[int]:
    """Which subject of the labels each sample of the packed training set is, by the path of its image."""
    shards = data.shards["train"]
    paths = [shards.read(index).path for index in range(len(shards))]
    return [source.labels.images.index(path) for path in paths]


def test_a_set_is_cut_into_chunks_and_keeps_every_image_as_it_is(labeled: LabeledData, packed: Path) -> None:
    data = opened(packed)
    assert len(data.shards["train"].chunks) >= 4
    for split, source in labeled.sources.items():
        shards = data.shards[split]
        rows = order_of(data, source) if split == "train" else list(range(len(source)))
        assert sorted(rows) == list(range(len(source))) and len(shards) == len(source)
        for index, row in enumerate(rows):
            sample, record = shards.read(index), data.sources[split].load(0, index)
            image = source.labels.images[row]
            assert sample.image == labeled.loaded.image_folder.path(image).read_bytes()
            assert np.array_equal(record.image, source.reader.read(image))
            expected = source.load(0, row)
            assert np.array_equal(record.keypoints, expected.keypoints, equal_nan=True)
            assert np.array_equal(record.visibility, expected.visibility)
            assert (record.size, record.scale, record.group) == (expected.size, expected.scale, expected.group)
            assert record.box is None and data.sources[split].describe(index).image.size == 0
    assert data.skeleton == labeled.skeleton and data.summary == labeled.summary


def test_training_samples_stand_in_random_order(labeled: LabeledData, packed: Path) -> None:
    rows = order_of(opened(packed), labeled.sources["train"])
    assert rows == np.random.default_rng(SEED).permutation(len(rows)).tolist() != sorted(rows)


def test_litdata_itself_reads_the_set(labeled: LabeledData, packed: Path) -> None:
    from litdata import StreamingDataset

    theirs, source = StreamingDataset(str(packed / "val")), labeled.sources["val"]
    assert len(theirs) == len(source)
    for index in (0, len(source) - 1):
        item, record = theirs[index], source.load(0, index)
        assert list(item) == list(FIELDS)
        assert np.array_equal(item["keypoints"], record.keypoints, equal_nan=True)
        assert bytes(item["path"]).decode() == source.labels.images[index] and item["scale"] == record.scale
        pixels = cv2.imdecode(np.frombuffer(item["image"], np.uint8), cv2.IMREAD_COLOR)
        assert np.array_equal(pixels[..., ::-1], record.image)


def test_samples_are_those_of_training_from_the_folder(labeled: LabeledData, packed: Path) -> None:
    data = opened(packed)
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


def test_workers_change_nothing(packed: Path) -> None:
    batches = [list(opened(packed, num_workers=workers).train_dataloader()) for workers in (0, 1, 2)]
    assert len(batches[0]) > 3
    for others in batches[1:]:
        assert len(others) == len(batches[0]) and all(map(same, others, batches[0]))


@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=12), window=st.integers(1, 14), epoch=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_shuffle_holds_each_sample_once_and_needs_few_chunks_at_a_time(
    lengths: list[int], window: int, epoch: int
) -> None:
    order = shuffle_by_chunk(np.array(lengths), window, 1, epoch)
    assert sorted(order.tolist()) == list(range(sum(lengths)))
    assert np.array_equal(order, shuffle_by_chunk(np.array(lengths), window, 1, epoch))
    chunks = np.repeat(np.arange(len(lengths)), lengths)[order]
    spans = [np.flatnonzero(chunks == chunk)[[0, -1]] for chunk in range(len(lengths))]
    for moment in range(len(order)):
        assert sum(first <= moment <= last for first, last in spans) <= window


def test_epochs_and_seeds_have_their_own_order() -> None:
    orders = {tuple(shuffle_by_chunk(np.full(6, 9), 3, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_a_wide_window_lets_any_sample_stand_first() -> None:
    first = {int(shuffle_by_chunk(np.full(4, 3), 4, seed, 0)[0]) for seed in range(200)}
    assert first == set(range(12))


@pytest.mark.parametrize("count", [12, 13])
def test_two_ranks_see_each_sample_once(count: int) -> None:
    lengths = np.array([5, count - 5])
    ranks = [[draw.index for draw in ChunkSampler(lengths, 1, 0, rank, 2)] for rank in (0, 1)]
    alone = [draw.index for draw in ChunkSampler(lengths, 1, 0)]
    together = [index for pair in zip(*ranks, strict=True) for index in pair]
    assert together[:count] == alone and sorted(alone) == list(range(count))
    assert together[count:] == alone[: count % 2]  # the last draw is filled up


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_goes_on_after_any_batch(packed: Path, workers: int) -> None:
    """The state of a loader that handed out n batches of epoch 1 gives the others, and then epoch 2."""
    whole = opened(packed).train_dataloader()
    epochs = []
    for epoch in (1, 2):
        whole.sampler.set_epoch(epoch)
        epochs.append([batch["index"].tolist() for batch in whole])
    for stop in range(len(epochs[0]) + 1) if workers == 0 else (2,):
        first, second = (opened(packed, num_workers=workers).train_dataloader() for _ in range(2))
        first.sampler.set_epoch(1)
        batches = iter(first)
        seen = [next(batches)["index"].tolist() for _ in range(stop)]
        state = json.loads(json.dumps(first.state_dict()))
        second.load_state_dict(state)
        assert second.state_dict() == state | ({"epoch": 2, "batches": 0} if stop == len(epochs[0]) else {})
        assert len(second) == len(whole)  # progress bars count the whole epoch
        rest = [batch["index"].tolist() for batch in second]
        assert seen + (rest if stop < len(epochs[0]) else []) == epochs[0]
        second.sampler.set_epoch(2)
        assert [batch["index"].tolist() for batch in second] == epochs[1]


def test_the_middle_of_an_epoch_is_refused_to_other_batches(packed: Path) -> None:
    loader = opened(packed).train_dataloader()
    next(iter(loader))
    message = r"middle of an epoch with batch_size=4 seed=0, this run has batch_size=5 seed=1; set them"
    with pytest.raises(ValueError, match=message):
        opened(packed, batch_size=5, seed=1).train_dataloader().load_state_dict(loader.state_dict())
    for _ in loader:
        pass
    opened(packed, batch_size=5).train_dataloader().load_state_dict(loader.state_dict())  # an epoch's end fits all


class Diary(Callback):
    """Writes down what was drawn; pulls the plug before batch `stop` of the run."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop, self.pages = stop, []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == self.stop:
            raise InterruptedError
        image = batch["image"].double().sum().item()
        self.pages.append((trainer.current_epoch, batch_idx, batch["index"].tolist(), image))


def fit(packed: Path, folder: Path, *more: str, stop: int | None = None) -> tuple[list[Any], dict[str, torch.Tensor]]:
    """What a training of two epochs of five batches drew, and its weights."""
    words = [
        "data=streaming",
        f"data.folder={packed}",
        "data.window=2",
        "backbone=small",
        "backbone.width=8",
        "trainer.max_epochs=2",
    ]
    words += ["data.size=32", "data.batch_size=4", "~logger.tensorboard", "~callbacks.lr_monitor"]
    module, data, trainer = built(cfg := composed("train", [*SMALL, *words, *more], folder))
    trainer.callbacks.append(diary := Diary(stop))
    try:
        trainer.fit(module, data, ckpt_path=cfg.ckpt_path, weights_only=True)
    except InterruptedError:
        assert stop is not None
    return diary.pages, module.net.state_dict()


@pytest.fixture(scope="module")
def whole(packed: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Any], dict[str, torch.Tensor]]:
    return fit(packed, tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize(
    ("stop", "workers", "when"),
    [(7, 1, 7), (3, 0, 3), (5, 0, 5), (5, 0, "null")],
    ids=["later", "middle", "end", "after-validation"],
)
def test_a_training_stopped_in_an_epoch_goes_on_there(
    packed: Path,
    whole: tuple[list[Any], dict[str, torch.Tensor]],
    tmp_path: Path,
    stop: int,
    workers: int,
    when: int | str,
) -> None:
    pages, end = whole
    assert [page[:2] for page in pages] == [(epoch, batch) for epoch in range(2) for batch in range(5)]
    words = [f"data.num_workers={workers}", f"+callbacks.last.every_n_train_steps={when}"]
    first, _ = fit(packed, tmp_path, *words, stop=stop)
    second, resumed = fit(packed, tmp_path, *words, f"ckpt_path={tmp_path / 'checkpoints' / 'last.ckpt'}")
    assert first == pages[:stop] and second == pages[stop:]
    assert all(torch.equal(resumed[key], end[key]) for key in end)


def test_lightnings_overfitting_takes_the_same_batch_every_time(packed: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="turning off the (train|val) dataloader shuffling"):
        pages, _ = fit(packed, tmp_path, "trainer.overfit_batches=1", "augment=none")
    assert [page[:2] for page in pages] == [(0, 0), (1, 0)]
    assert pages[0][2] == pages[1][2] == [0, 1, 2, 3]


def test_another_set_is_refused_to_a_checkpoint(labeled: LabeledData, packed: Path, tmp_path: Path) -> None:
    state = opened(packed).state_dict()
    opened(packed).load_state_dict(state)
    pack(labeled.sources, tmp_path / "other", 0.05, SEED + 1, False)
    with pytest.raises(ValueError, match=r"was not trained on the set at .*other: .*set data.folder to that set"):
        opened(tmp_path / "other").load_state_dict(state)


def test_mean_position_is_that_of_the_labels(labeled: LabeledData, tmp_path: Path) -> None:
    pack(labeled.sources, tmp_path / "one", 64, SEED, False)
    np.testing.assert_allclose(opened(tmp_path / "one").mean_position(), labeled.mean_position())


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
    data = opened(tmp_path / "set", padding=2.0)
    assert data.has_hidden_points and data.padding == 2.0
    for index in range(3):
        record, expected = data.sources["val"].load(0, index), source.load(0, index)
        assert np.array_equal(record.box, expected.box) and record.scale == expected.scale
        assert np.array_equal(record.visibility, [2, 1, 0])
    plain = KeypointDataset(source, (64, 64), (0, 1), None, 2.0)
    assert equal(data.dataset("val"), plain)


def test_what_is_no_file_is_packed_as_png(labeled: LabeledData, tmp_path: Path) -> None:
    class Frames:
        def read(self, image: str) -> np.ndarray:
            return labeled.loaded.image_folder.read(image)[::-1]

    source = LabeledImages(labeled.sources["val"].labels, labeled.sources["val"].sizes, Frames())
    pack(dict.fromkeys(SPLITS, source), tmp_path / "set", 1, 0, False)
    data = opened(tmp_path / "set")
    assert data.shards["val"].read(1).image[:4] == b"\x89PNG"
    assert np.array_equal(data.sources["val"].load(0, 1).image, source.load(0, 1).image)


def test_crops_travel_with_the_set(tmp_path: Path) -> None:
    folder = tmp_path / "labels"
    write_labels(folder)
    data = labeled_data(folder / "labels.csv", seed=3, val=0.2, test=0.2, mode="instance")
    pack(data.sources, tmp_path / "set", 0.05, 3, data.has_hidden_points)
    streamed = opened(tmp_path / "set", padding=1.5)
    assert streamed.crops == {"padding": 1.5, "boxes": None} and streamed.padding == 1.5
    assert data.crops == {"padding": 1.25, "boxes": None}
