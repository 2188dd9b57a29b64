"""Where a map comes from: a kind of feature map, an image or a file, each with the Python that makes it again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from softpoint.demo.arrays import as_batch, load_maps
from softpoint.demo.feature_maps import Size, feature_map, intensity

_READ_IMAGE = "from softpoint.images.decode import read_image"


@dataclass(frozen=True, eq=False)
class NamedMap:
    """Logits (H, W) float32, their name, and a Python expression that makes them after the import `needs`."""

    logits: np.ndarray
    name: str
    code: str
    needs: str = ""


def kind_map(kind: str, size: Size = (64, 64), seed: int = 0) -> NamedMap:
    """Return the feature map of a kind; ValueError as of `feature_map`.

    >>> kind_map("random", (8, 8), 1).code
    "demo.feature_map('random', (8, 8), seed=1)"
    """
    code = f"demo.feature_map({kind!r}, {size}, seed={seed})"
    return NamedMap(feature_map(kind, size, seed), kind.replace("_", " "), code)


def image_map(image: np.ndarray, path: str | Path, side: int = 64) -> NamedMap:
    """Return the brightness of an image that was read from `path`, upright."""
    code = f"demo.intensity(read_image({str(path)!r}, exif='apply'), side={side})"
    return NamedMap(intensity(image, side), Path(path).name, code, _READ_IMAGE)


def file_map(path: str | Path, sample: int = 0, channel: int = 0) -> NamedMap:
    """Return one map of a .npy file; ValueError as of `load_maps` and `array_map`."""
    return array_map(load_maps(path), path, sample, channel)


def array_map(maps: np.ndarray, path: str | Path, sample: int = 0, channel: int = 0) -> NamedMap:
    """Return one of the maps that were read from `path`; ValueError for a sample or channel that it has not."""
    maps = as_batch(maps)
    for name, number, count in (("sample", sample, len(maps)), ("channel", channel, maps.shape[-1])):
        if not 0 <= number < count:
            raise ValueError(f"{name}={number} is not in {path}, which has {count}; number them from 0")
    code = f"demo.as_batch(demo.load_maps({str(path)!r}))[{sample}, :, :, {channel}]"
    return NamedMap(maps[sample, :, :, channel], f"{Path(path).name}, channel {channel}", code)


def snippet(source: NamedMap, temperature: float = 1.0, window: int = 9, cell: tuple[int, int] | None = None) -> str:
    """Return the lines of Python that compute what `analyze` answers about a map and a `cell` (x, y) of it.

    >>> print(snippet(kind_map("floor")).splitlines()[0])
    import torch
    """
    return _SNIPPET.format(
        needs=f"\n{source.needs}" if source.needs else "",
        code=source.code,
        temperature=float(temperature),
        window=window,
        chosen="heatmap.max()" if cell is None else f"heatmap[{cell[1]}, {cell[0]}]",
    )


_SNIPPET = """\
import torch

from softpoint import demo, entropy, information_content, soft_argmax, spatial_covariance, spatial_softmax
from softpoint.functional import decode_heatmap{needs}

logits = torch.from_numpy({code})
heatmap = spatial_softmax(logits, temperature={temperature})  # sums to 1
expectation = soft_argmax(logits, temperature={temperature})  # (x, y) in cells: the mean of the heatmap
fit = soft_argmax(logits, temperature={temperature}, window={window})  # of a Gaussian about the largest cell
argmax = decode_heatmap(heatmap, "argmax")
covariance = spatial_covariance(heatmap)  # cells squared
bits = entropy(heatmap)
information = information_content({chosen})
"""
