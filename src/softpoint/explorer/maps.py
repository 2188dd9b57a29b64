"""The map that a visitor chose, with the Python that makes it again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch

from softpoint.data.synthetic import Figure
from softpoint.demo.feature_maps import intensity
from softpoint.demo.sources import NamedMap, kind_map
from softpoint.explorer.uploads import UploadedMaps

SAMPLE, UPLOAD = "sample image", "my file"
_THREADS = torch.get_num_threads()
_forward = Lock()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: for small maps, waiting for others takes longer than they save.

    Afterwards new threads compute on as many as at the start of the process, whoever else computes meanwhile.
    """
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(_THREADS)


@contextmanager
def one_forward() -> Iterator[None]:
    """Let a network compute alone, on all threads: what is collected within it is of no other visitor's image."""
    with _forward:
        torch.set_num_threads(_THREADS)
        yield


def chosen_map(kind: str, upload: UploadedMaps | None, size: int, seed: int, sample: int, channel: int) -> NamedMap:
    """Return the map of a kind, of a painted image, or of the file that was uploaded; ValueError without one."""
    if kind == SAMPLE:
        code = f"demo.intensity(Figure().draw(np.random.default_rng({seed}), (256, 256)).image, side={size})"
        image = Figure().draw(np.random.default_rng(seed), (256, 256)).image
        needs = "import numpy as np\nfrom softpoint.data.synthetic import Figure"
        return NamedMap(intensity(image, size), SAMPLE, code, needs)
    if kind != UPLOAD:
        return kind_map(kind, (size, size), seed)
    if upload is None:
        raise ValueError("upload an image or a .npy file first")
    return upload.chosen(size, sample, channel)
