"""Order, shares of processes, and the position of a resumed loader."""

from __future__ import annotations

import json

import pytest

from softpoint.data.dataset import KeypointDataset
from softpoint.data.loaders import EpochSampler, ResumableLoader, collate
from softpoint.data.sources import PaintedScenes
from softpoint.data.synthetic import Shapes


@pytest.mark.parametrize("length", [1, 2, 7, 8])
@pytest.mark.parametrize("world", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 4])
def test_shares_of_processes_are_equal_and_cover_all_indices(length: int, world: int, seed: int | None) -> None:
    samplers = [EpochSampler(length, seed, rank, world) for rank in range(world)]
    for sampler in samplers:
        sampler.set_epoch(5)
    shares = [list(sampler) for sampler in samplers]
    assert {len(share) for share in shares} == {-(-length // world)} == {len(samplers[0])}
    drawn = [draw for share in shares for draw in share]
    real = [draw.index for draw in drawn if not draw.padding]
    extra = len(drawn) - length
    if seed is None:  # measured once each, whatever fills up is hidden
        assert sorted(real) == list(range(length)) and {draw.epoch for draw in drawn} == {0}
    else:  # trained on, a few of them twice
        assert len(real) == length + extra and set(real) == set(range(length)) and {d.epoch for d in drawn} == {5}


def test_batches_of_two_processes_are_one_of_a_single_process() -> None:
    one = list(EpochSampler(12, seed=1))
    two = [list(EpochSampler(12, seed=1, rank=rank, world=2)) for rank in (0, 1)]
    for step in range(3):
        joint = [draw for share in two for draw in share[2 * step : 2 * step + 2]]
        assert sorted(joint) == sorted(one[4 * step : 4 * step + 4])


def test_order_changes_with_epoch_and_seed() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        sampler = EpochSampler(50, seed)
        sampler.set_epoch(epoch)
        return [draw.index for draw in sampler]

    assert order(0, 0) == order(0, 0) != order(0, 1) != order(1, 1)


def loader_of(batch_size: int, workers: int = 0, seed: int = 1, rank: int = 0, world: int = 1) -> ResumableLoader:
    scenes, sampler = PaintedScenes(Shapes(), (32, 32), 10, (0,), renewed=False), EpochSampler(10, seed, rank, world)
    dataset = KeypointDataset(scenes, scenes.size, (0,))
    return ResumableLoader(dataset, batch_size, sampler=sampler, num_workers=workers, collate_fn=collate)


def indices(loader: ResumableLoader, epoch: int | None = None) -> list[int]:
    if epoch is not None:
        loader.sampler.set_epoch(epoch)
    return [index for batch in loader for index in batch["index"].tolist()]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_loader_continues_after_any_batch(workers: int) -> None:
    """A loader with the state of one after n batches of epoch 1 gives the others, and then epoch 2."""
    epochs = [indices(loader_of(2), epoch) for epoch in (1, 2)]
    for stop in range(6) if workers == 0 else (2,):
        first, second = loader_of(2, workers), loader_of(2, workers)
        first.sampler.set_epoch(1)
        batches = iter(first)
        drawn = [index for _ in range(stop) for index in next(batches)["index"].tolist()]
        state = json.loads(json.dumps(first.state_dict()))
        second.load_state_dict(state)
        assert second.state_dict() == state | ({"epoch": 2, "batches": 0} if stop == 5 else {})
        assert len(second) == 5  # progress bars count the whole epoch
        assert drawn + (indices(second) if stop < 5 else []) == epochs[0]
        assert indices(second, 2) == epochs[1]


def test_another_number_of_processes_continues_with_as_many_images_per_step() -> None:
    """Two processes with batches of 2, and one with batches of 4: a step holds the same images."""
    first = [loader_of(2, rank=rank, world=2) for rank in (0, 1)]
    for loader in first:
        loader.sampler.set_epoch(1)
    steps = [sorted(a["index"].tolist() + b["index"].tolist()) for a, b in zip(*first, strict=True)]
    batches = iter(stopped := loader_of(2, rank=0, world=2))
    stopped.sampler.set_epoch(1)
    next(batches)
    one = loader_of(4)
    one.load_state_dict(state := stopped.state_dict())
    assert [sorted(batch["index"].tolist()) for batch in one][:1] == steps[1:2]
    with pytest.raises(ValueError, match="with world=2, this run has world=1; set them"):
        loader_of(2).load_state_dict(state)
    loader_of(2).load_state_dict(state | {"batches": 3})  # at the end of an epoch


@pytest.mark.parametrize(
    ("changes", "words"), [({"batch_size": 1}, "batch_size=1"), ({"batch_size": 5, "seed": 2}, "batch_size=5 seed=2")]
)
def test_other_batches_are_refused_in_the_middle_of_an_epoch(changes: dict[str, int], words: str) -> None:
    first = loader_of(2)
    next(iter(first))
    with pytest.raises(ValueError, match=rf"with batch_size=2.*, this run has {words}; set them"):
        loader_of(**changes).load_state_dict(first.state_dict())


def test_after_an_epoch_the_batches_may_change() -> None:
    first, second = loader_of(2), loader_of(5)
    assert len(indices(first)) == 10
    second.load_state_dict(first.state_dict())
    assert sorted(indices(second, 1)) == list(range(10))
