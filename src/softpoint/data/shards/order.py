"""In which order an epoch comes to the samples of chunks."""

from __future__ import annotations

import numpy as np

from softpoint.data.dataset import EpochSampler


def chunk_places(count: int, seed: int | None, epoch: int) -> np.ndarray:
    """At which place of an epoch each of `count` chunks begins."""
    return np.arange(count) if seed is None else np.random.default_rng([seed, epoch]).permutation(count)


def shuffle_by_chunk(lengths: np.ndarray, window: int, seed: int, epoch: int) -> np.ndarray:
    """An order of all samples, of chunks with these `lengths`, that never needs more than `window` chunks at once.

    A chunk begins at each unit of time, and its samples arrive at random within the `window` units that follow.
    With as many chunks or fewer, any sample may stand anywhere.

    >>> shuffle_by_chunk(np.array([3, 3, 3]), 1, seed=0, epoch=0).tolist()
    [4, 5, 3, 6, 8, 7, 1, 0, 2]
    """
    rng = np.random.default_rng([seed, epoch])
    begins = rng.permutation(len(lengths)) if window < len(lengths) else np.zeros(len(lengths))
    return np.argsort(np.repeat(begins, lengths) + rng.uniform(0, window, int(lengths.sum())), kind="stable")


class ChunkSampler(EpochSampler):
    """What one of `world` processes draws in an epoch: its share of a shuffle by chunks.

    All processes are at the same chunks at a time, so that those of one machine share what it keeps.
    """

    def __init__(self, lengths: np.ndarray, window: int, seed: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(int(lengths.sum()), seed, rank, world)
        self.lengths, self.window = lengths, window

    @property
    def terms(self) -> dict[str, int | None]:
        """What the draws of an epoch depend on, beside the epoch."""
        return super().terms | {"window": self.window}

    def order(self) -> np.ndarray:
        """All indices, never needing more than `window` chunks at once."""
        assert self.seed is not None
        return shuffle_by_chunk(self.lengths, self.window, self.seed, self.epoch)
