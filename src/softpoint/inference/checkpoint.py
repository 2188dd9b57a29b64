"""Networks rebuilt from checkpoints, shared folders and the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from softpoint.images.channels import Channels, check_channels, count_channels
from softpoint.inference.build_model import build_model, shorten
from softpoint.inference.checkpoint_content import read_content
from softpoint.inference.hub import WEIGHTS
from softpoint.labels.plane import Plane
from softpoint.labels.skeleton import Skeleton
from softpoint.models import Network
from softpoint.paths import normalize_path


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and what its training stored with it."""

    net: Network
    skeleton: Skeleton
    size: tuple[int, int]  # (height, width) of the network's input
    crops: dict[str, Any] | None  # `padding` and `boxes` of the training's crops; None for whole images
    config: dict[str, Any]
    path: Path  # of a .ckpt file, or of a folder with config.json and model.safetensors
    splits: dict[str, list[str]] | None = None  # image paths of train, val and test; None where data has no files
    record: dict[str, Any] = field(default_factory=dict)  # facts of the run (`training.record`); {} in old checkpoints
    versions: dict[str, str] = field(default_factory=dict)  # of the libraries in training
    trust: tuple[str, ...] = ()  # packages of the user that the network may be built of
    address: str | None = None  # on the Hub, of a model whose `path` is its copy in the cache
    finder: dict[str, Any] | None = None  # `size` of its input and `anchor`; None for a network that finds no subjects

    @property
    def data(self) -> Mapping[str, Any]:
        """The settings `data.*` of the training; empty without any."""
        data = self.config.get("data")
        return data if isinstance(data, Mapping) else {}

    @property
    def bits(self) -> int | None:
        """The bits that the values of 16-bit images use, as the training read them; see `ImageFolder`."""
        return self.data.get("bits")

    @property
    def channels(self) -> Channels:
        """The channels of images, as the training read them; see `ImageFolder`."""
        count: int = getattr(self.net, "in_channels", 3)
        try:
            channels = check_channels(self.data.get("channels", count))
        except ValueError:
            return count
        return channels if count_channels(channels) == count else count

    @property
    def plane(self) -> Plane | None:
        """The plane that the images of the training show; None where only pixels are known."""
        homography = self.data.get("homography")
        return Plane.of(self.data.get("mm_per_pixel"), None if isinstance(homography, str) else homography)

    @property
    def weights_file(self) -> Path:
        """The file that holds the weights."""
        return self.path / WEIGHTS if self.path.is_dir() else self.path


def read_checkpoint(path: str | Path, trust: Sequence[str] | None = ()) -> Checkpoint:
    """Return the network in a .ckpt file, in a folder of `save_pretrained`, or at "hf://user/name" on the Hub.

    No code that the file names is run, except network modules of the packages in `trust`. Raises FileNotFoundError, and
    ValueError for a file that is damaged, holds more than tensors and plain values, is no model of softpoint, or
    configures anything but softpoint's own modules of usual sizes.
    """
    trust = (trust,) if isinstance(trust, str) else tuple(trust or ())
    content = read_content(path)
    try:
        net = _network(content.config["model"], len(content.skeleton), content.weights, trust)
    except ValueError as error:
        raise ValueError(f"{content.path}: {error}") from error
    if (content.finder is None) != (getattr(net, "finder", None) is None):
        raise ValueError(f"{content.path}: it must state the input of its finder, where its network has one")
    facts = content._asdict()
    del facts["weights"]
    return Checkpoint(net, trust=trust, **facts)


def trained_images(splits: Mapping[str, Sequence[str]] | None) -> set[str]:
    """Return the paths, by `normalize_path`, of the images that the stored splits of a model say it has learned.

    They are those of its training, and "earlier" ones, of models that it started from.
    """
    return {normalize_path(image) for split in ("train", "earlier") for image in (splits or {}).get(split, ())}


def _network(model: Any, num_keypoints: int, weights: dict[str, Tensor], trust: Sequence[str]) -> Network:
    """Return the network of a config with these weights; built without memory first, to compare it with the file."""
    with torch.device("meta"):
        empty = build_model(model, num_keypoints, trust)
    calibrated = any(key.startswith("calibration.") for key in weights)
    _check_fit(empty, empty.calibration.older(prefix="calibration.", all_of_it=not calibrated) | weights)
    net = build_model(model, num_keypoints, trust)
    net.load_state_dict(weights, strict=calibrated)  # the first checkpoints have no calibration
    return net.eval()


def _check_fit(net: Network, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless names, shapes and kinds of numbers agree; half precision agrees with full."""

    def kinds(state: Mapping[str, Tensor]) -> dict[str, str]:
        return {
            key: f"{tuple(value.shape)} of {'real' if value.is_floating_point() else value.dtype}"
            for key, value in state.items()
        }

    expected, actual = kinds(net.state_dict()), kinds(weights)
    differing = sorted(key for key in expected.keys() | actual.keys() if expected.get(key) != actual.get(key))
    if differing:
        key = differing[0]
        raise ValueError(
            f"its weights do not fit its config: {len(differing)} tensors differ, first {shorten(key, 80)}, which is"
            f" {actual.get(key, 'absent')} in the file and {expected.get(key, 'absent')} by the config"
        )
