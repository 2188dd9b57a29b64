"""Exported models at work with numpy and onnxruntime alone: no torch, and nothing else of this project.

from softpoint.runtime import load
found = load("model.onnx")(image)  # uint8 RGB (H, W, 3)
found["keypoints"], found["confidence"], found["covariance"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

KEY = "softpoint"  # of the metadata, JSON text, in an exported file
FORMAT = 1  # of what stands there
_AT_ONCE = 8  # images in memory as floats, however many are asked about


class Model:
    """A model that `softpoint export format=onnx` wrote.

    `metadata` says what the export wrote beside the weights; `names` are those of the keypoints, in the order of the
    answers. Raises ValueError for a file that is no such model, FileNotFoundError where there is none.

    Args:
        path: of the .onnx file.
        threads: that compute; 0 for as many as there are cores.
        providers: of onnxruntime, the preferred first; None for the CPU. One that it lacks is an error.
    """

    def __init__(self, path: str | Path, threads: int = 0, providers: Sequence[str] | None = None) -> None:
        self.path = Path(path)
        chosen = [providers] if isinstance(providers, str) else list(providers or ["CPUExecutionProvider"])
        self.session = _open(self.path, threads, chosen)
        self.metadata = _metadata(self.session, self.path)
        self.names: list[str] = list(self.metadata["keypoints"])
        self._inputs = {value.name: value for value in self.session.get_inputs()}
        self._outputs = [value.name for value in self.session.get_outputs()]

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(H, W) that images must have; None for any."""
        height, width = self._inputs["images"].shape[1:3]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    def __call__(self, images: Any, boxes: Any = None) -> dict[str, np.ndarray]:
        """Answers for one uint8 RGB image (H, W, 3), a batch (B, H, W, 3), or a list of any sizes.

        A model trained on crops takes one box (left, top, right, bottom) an image, (4,) or (B, 4), or for one image
        (N, 4) for N subjects in it; without boxes it looks at whole images. Returns float32 `keypoints` (K, 2) as
        (x, y) in pixels of the image, `confidence` (K,), `covariance` (K, 2, 2) in px^2, and what else was exported;
        with a leading B or N for more than one. Raises ValueError for another shape or type.
        """
        single = isinstance(images, np.ndarray) and images.ndim < 4
        checked = [_checked(image) for image in (images[None] if single else images)]
        if not checked:
            raise ValueError("no images to predict: the list is empty")
        self._check_sizes(checked)
        regions = self._regions(checked, boxes, single)
        if single and len(regions) > 1:
            single, checked = False, checked * len(regions)
        elif single and np.ndim(boxes) == 2:
            single = False
        answers = self._in_groups(checked, regions)
        return {name: value[0] for name, value in answers.items()} if single else answers

    def _check_sizes(self, images: list[np.ndarray]) -> None:
        for height, width, _ in (image.shape for image in images):
            if self.fixed_size not in (None, (height, width)):
                raise ValueError(
                    f"{self.path} was exported for images of {self.fixed_size} (H, W), got {(height, width)}"
                )

    def _in_groups(self, images: list[np.ndarray], regions: np.ndarray) -> dict[str, np.ndarray]:
        """Answers in order; images of one size go together."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(image.shape, []).append(i)
        found: list[Mapping[str, np.ndarray] | None] = [None] * len(images)
        batches = [rows[i : i + _AT_ONCE] for rows in groups.values() for i in range(0, len(rows), _AT_ONCE)]
        for rows in batches:
            given = {"images": np.stack([images[i] for i in rows])}
            if "boxes" in self._inputs:
                given["boxes"] = regions[rows].astype(np.float32)
            values = self.session.run(None, given)
            for place, i in enumerate(rows):
                found[i] = {name: value[place] for name, value in zip(self._outputs, values, strict=True)}
        return {name: np.stack([one[name] for one in found if one is not None]) for name in self._outputs}

    def _regions(self, images: list[np.ndarray], boxes: Any, single: bool) -> np.ndarray:
        if boxes is None:
            padding = (self.metadata["crops"] or {}).get("padding", 1.0)
            return np.array([_whole(image.shape[:2], self.metadata["size"], padding) for image in images])
        if "boxes" not in self._inputs:
            raise ValueError(f"{self.path} was trained on whole images and takes no boxes")
        rows = np.atleast_2d(np.asarray(boxes, dtype=float))
        if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows) or not (single or len(rows) == len(images)):
            raise ValueError(f"boxes have shape {np.shape(boxes)}; {len(images)} images need ({len(images)}, 4)")
        if not (np.isfinite(rows).all() and (rows[:, 2:] > rows[:, :2]).all()):
            raise ValueError(f"boxes {rows.tolist()} must be (left, top, right, bottom), each with an area")
        return rows


def load(path: str | Path, threads: int = 0, providers: Sequence[str] | None = None) -> Model:
    """The model in an .onnx file, ready to predict; see `Model`."""
    return Model(path, threads, providers)


def _open(path: Path, threads: int, providers: list[str]) -> InferenceSession:
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("an exported model runs on onnxruntime: pip install onnxruntime") from error
    if not path.is_file():
        raise FileNotFoundError(f"no model at {path}; softpoint export writes one")
    known = onnxruntime.get_available_providers()
    if missing := [name for name in providers if name not in known]:
        raise ValueError(f"providers: this onnxruntime has no {missing[0]}; it has {', '.join(known)}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait for each other sleep, for a server has others to run; warnings are about shapes alone.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has an exception for each thing that can be wrong with a file
        raise ValueError(f"{path} is no model that onnxruntime can run, or is damaged: {error}") from error


def _metadata(session: InferenceSession, path: Path) -> dict[str, Any]:
    """What the export wrote into the file; ValueError where that was not ours, or is from a later version."""
    stored = session.get_modelmeta().custom_metadata_map.get(KEY)
    if stored is None:
        raise ValueError(f"{path} was not written by softpoint: it does not say what its outputs mean")
    try:
        metadata = json.loads(stored)
        later = metadata["format"] > FORMAT
        height, width = map(int, metadata["size"])
        metadata |= {"keypoints": list(map(str, metadata["keypoints"])), "size": [height, width]}
        if (crops := metadata["crops"]) is not None:
            crops["padding"] = float(crops["padding"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: what it says of itself cannot be read ({error!r}); export it again") from error
    if later:
        raise ValueError(
            f"{path} is of format {metadata['format']}, and this softpoint reads up to {FORMAT}; update it"
        )
    return metadata


def _checked(image: Any) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise ValueError(f"an image must be uint8 RGB of shape (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _whole(size: Sequence[int], into: Sequence[int], padding: float) -> np.ndarray:
    """The box that shows a whole image of `size` (H, W), centered to a whole pixel, in an input `into` (h, w).

    >>> _whole((480, 640), (256, 256), 1.0).round(3).tolist()
    [-0.5, -80.5, 639.5, 559.5]
    """
    scale = min(into[0] / size[0], into[1] / size[1])
    shown = np.array([into[1], into[0]])
    margin = np.round((shown - np.array([size[1], size[0]]) * scale) / 2)
    center = ((shown - 1) / 2 - (margin + scale / 2 - 0.5)) / scale
    half = shown / (2 * scale * padding)
    return np.concatenate([center - half, center + half])
