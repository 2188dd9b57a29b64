"""Names of the images of each split in a checkpoint: text in tensors, as a pickle of many names is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_SPLITS = 10
MAX_NAMES = 10_000_000  # of one split


def pack_splits(splits: Mapping[str, Sequence[str]]) -> dict[str, Tensor]:
    """Return the names of each split, each once and closed by a NUL, as the bytes of their text.

    >>> pack_splits({"val": ["a", "b", "a"]})
    {'val': tensor([97,  0, 98,  0], dtype=torch.uint8)}
    """
    return {split: _packed(dict.fromkeys(names)) for split, names in splits.items()}


def unpack_splits(stored: Mapping[Any, Any]) -> dict[str, list[str]]:
    """Return the names of each split, from tensors of `pack_splits` or the lists of shared folders and old checkpoints.

    Raises ValueError for other tensors, more than `MAX_SPLITS` splits and more than `MAX_NAMES` names in one.

    >>> unpack_splits({"train": ["c"], "val": torch.tensor([97, 0, 98, 0], dtype=torch.uint8)})
    {'train': ['c'], 'val': ['a', 'b']}
    """
    if len(stored) > MAX_SPLITS:
        raise ValueError(f"it has {len(stored)} splits of images, where up to {MAX_SPLITS} are possible")
    return {
        str(split): _unpacked(names) if isinstance(names, Tensor) else [str(name) for name in names]
        for split, names in stored.items()
    }


def _packed(names: Mapping[str, object]) -> Tensor:
    if len(names) > MAX_NAMES:
        raise ValueError(
            f"one split has {len(names)} images, where a checkpoint names up to {MAX_NAMES}; softpoint pack makes"
            " shards of them, which data=streaming trains on"
        )
    text = "".join(f"{name}\0" for name in names).encode("utf-8", "surrogatepass")
    return torch.from_numpy(np.frombuffer(text, np.uint8).copy())


def _unpacked(text: Tensor) -> list[str]:
    if text.dtype != torch.uint8 or text.dim() != 1 or (len(text) and text[-1]):
        raise ValueError("the names of its images are no text")
    if (count := int((text == 0).sum())) > MAX_NAMES:
        raise ValueError(f"it names {count} images in one split, where up to {MAX_NAMES} are possible")
    return text.numpy().tobytes().decode("utf-8", "surrogatepass").split("\0")[:-1]
