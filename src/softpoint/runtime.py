"""Prediction by exported models with numpy and onnxruntime alone, without torch and the rest of this package.

from softpoint.runtime import load
prediction = load("model.onnx")(image)  # uint8 RGB (H, W, 3)
prediction["keypoints"], prediction["confidence"], prediction["covariance"]

A model that finds subjects returns those of an image, likeliest first: prediction["scores"], prediction["boxes"].
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
FORMAT = 1  # of the metadata
_BATCH_SIZE = 8  # images in memory as floats


class Model:
    """A model that `softpoint export format=onnx` wrote.

    `metadata` is that of the export, with `faults` that make the model doubtful; `names` are those of the keypoints, in
    the order of predictions. Raises ValueError for a file that is no such model, FileNotFoundError if there is none.

    Args:
        path: of the .onnx file.
        threads: number of threads; 0 for one per core.
        providers: onnxruntime's execution providers, the preferred first; None for the CPU.
        threshold: smallest score of a subject, of a model that finds them; None for that of the export.
    """

    def __init__(
        self,
        path: str | Path,
        threads: int = 0,
        providers: Sequence[str] | None = None,
        threshold: float | None = None,
    ) -> None:
        self.path = Path(path)
        chosen = [providers] if isinstance(providers, str) else list(providers or ["CPUExecutionProvider"])
        self.session = _open(self.path, threads, chosen)
        self.metadata = _metadata(self.session, self.path)
        self.names: list[str] = list(self.metadata["keypoints"])
        self._inputs = {value.name: value for value in self.session.get_inputs()}
        self._outputs = [value.name for value in self.session.get_outputs()]
        self.threshold = self._threshold(threshold)

    @property
    def channels(self) -> int:
        """C, the number of channels of every image: 3 for RGB, 1 for gray."""
        channels = self.metadata["channels"]
        return len(channels) if isinstance(channels, list) else channels

    @property
    def fixed_size(self) -> tuple[int, int] | None:
        """(H, W) of every image; None for any size."""
        height, width = self._inputs["images"].shape[1:3]
        return (height, width) if isinstance(height, int) and isinstance(width, int) else None

    @property
    def fixed_batch(self) -> int | None:
        """Number of images in every call; None for any. A call with fewer is filled up."""
        count = self._inputs["images"].shape[0]
        return count if isinstance(count, int) else None

    @property
    def finds_subjects(self) -> bool:
        """True for a model that finds the subjects in an image, and takes no boxes."""
        return self.metadata["finder"] is not None

    def __call__(self, images: Any, boxes: Any = None, threshold: float | None = None) -> Any:
        """Return predictions for one uint8 RGB image (H, W, 3), a batch (B, H, W, 3), or a list of images of any sizes.

        A model of other channels takes images (H, W, C) of those; one of gray images also RGB, and gray ones (H, W).
        A model trained on crops takes one box (left, top, right, bottom) per image, (4,) or (B, 4), or for one image
        (N, 4) for N subjects in it; without boxes it sees whole images. The result has float32 `keypoints` (K, 2) as
        (x, y) in pixels of the image, `confidence` (K,), `covariance` (K, 2, 2) in px^2, and other exported outputs;
        with a leading B or N for more than one. Raises ValueError for another shape or type.

        A model that finds subjects returns for one image a dictionary of those with a leading n, with `scores` (n,), at
        least `threshold` or that of the model, and `boxes` (n, 4), the likeliest first; for more images a list of
        such.
        """
        if self.finds_subjects and boxes is not None:
            raise ValueError(
                f"{self.path} finds the subjects itself and takes no boxes; softpoint export finder=false writes a file"
                " that does"
            )
        threshold = self._threshold(threshold)
        checked, regions, single = check_inputs(images, boxes, self.channels)
        for height, width, _ in (image.shape for image in checked):
            if self.fixed_size not in (None, (height, width)):
                raise ValueError(
                    f"{self.path} was exported for images of {self.fixed_size} (H, W), got {(height, width)}"
                )
        if "boxes" not in self._inputs and regions is not None:
            raise ValueError(f"{self.path} was trained on whole images and takes no boxes")
        if "boxes" in self._inputs and regions is None:
            padding = (self.metadata["crops"] or {}).get("padding", 1.0)
            regions = np.array([_whole(image.shape[:2], self.metadata["size"], padding) for image in checked])
        if self.finds_subjects:
            found = [self._find(image, threshold) for image in checked]
            return found[0] if single else found
        outputs = self._run(checked, regions)
        return {name: value[0] for name, value in outputs.items()} if single else outputs

    @property
    def region_levels(self) -> list[float]:
        """Probabilities of the regions that the model has: ellipses that hold a point whatever its error is like."""
        return [level["level"] for level in self.metadata["regions"]]

    def regions(self, prediction: Mapping[str, np.ndarray], level: float) -> np.ndarray:
        """Return the ellipses (..., K, 3) about the keypoints of a prediction that hold them with this probability.

        They are `ellipse_axes` in pixels of the image; NaN for a keypoint without one. Raises ValueError for another
        probability than those of `region_levels`.
        """
        radius = next((entry["radius"] for entry in self.metadata["regions"] if entry["level"] == level), None)
        if radius is None:
            known = ", ".join(map(str, self.region_levels)) or "none"
            raise ValueError(f"{self.path} has no regions of level={level}; it has {known}")
        radii = np.array([np.nan if radius[name] is None else radius[name] for name in self.names])
        return ellipse_axes(prediction["covariance"], radii)

    def millimeters(self, prediction: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return the keypoints (..., K, 2) of a prediction in millimeters, and covariances (..., K, 2, 2) in mm^2.

        They are on the plane of the training's data.mm_per_pixel or data.homography, and of its camera. Raises
        ValueError for a model without.
        """
        if self.metadata["homography"] is None:
            raise ValueError(f"{self.path} does not know millimeters: set data.mm_per_pixel or data.homography")
        return in_plane(self.metadata["homography"], prediction["keypoints"], prediction["covariance"])

    def _threshold(self, given: float | None) -> float | None:
        """Return a threshold, or the model's where none is given; ValueError for an impossible one."""
        if given is None:
            stored: float | None = self.__dict__.get("threshold", (self.metadata["finder"] or {}).get("threshold"))
            return stored
        if not self.finds_subjects:
            raise ValueError(f"threshold={given}: {self.path} finds no subjects, whose smallest score this is")
        if not 0 <= given <= 1:
            raise ValueError(f"threshold={given} must be a probability, 0 to 1")
        return float(given)

    def _find(self, image: np.ndarray, threshold: float | None) -> dict[str, np.ndarray]:
        inputs = {"images": image[None], "threshold": np.array(threshold, np.float32)}
        return dict(zip(self._outputs, self.session.run(None, inputs), strict=True))

    def _run(self, images: list[np.ndarray], regions: np.ndarray | None) -> dict[str, np.ndarray]:
        """Return outputs in order; images of one size are batched."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for i, image in enumerate(images):
            groups.setdefault(image.shape, []).append(i)
        results: list[Mapping[str, np.ndarray]] = [{}] * len(images)
        size = self.fixed_batch or _BATCH_SIZE
        batches = [rows[i : i + size] for rows in groups.values() for i in range(0, len(rows), size)]
        for rows in batches:
            filled = rows + rows[-1:] * ((self.fixed_batch or 0) - len(rows))
            inputs = {"images": np.stack([images[i] for i in filled])}
            if regions is not None:
                inputs["boxes"] = regions[filled].astype(np.float32)
            values = self.session.run(None, inputs)
            for row, i in enumerate(rows):
                results[i] = {name: value[row] for name, value in zip(self._outputs, values, strict=True)}
        return {name: np.stack([result[name] for result in results]) for name in self._outputs}


def ellipse_axes(covariance: np.ndarray, radius: np.ndarray | float) -> np.ndarray:
    """Return half axes, long and short, and the angle in degrees of the long one from x to y (..., 3) of ellipses.

    `covariance` is (..., 2, 2), and `radius` (...) in Mahalanobis distances; NaN gives NaN.

    >>> ellipse_axes(np.array([[1.0, 0.0], [0.0, 4.0]]), 3.0).tolist()
    [6.0, 3.0, 90.0]
    """
    known = np.isfinite(covariance).all((-2, -1))
    values, vectors = np.linalg.eigh(np.where(known[..., None, None], covariance, 0).astype(float))
    short, long = np.moveaxis(np.sqrt(values.clip(0)), -1, 0)
    angle = np.degrees(np.arctan2(vectors[..., 1, 1], vectors[..., 0, 1])) % 180
    radius = np.where(known, radius, np.nan)
    return np.stack((long * radius, short * radius, angle + 0 * radius), -1)


def in_plane(
    matrix: np.ndarray, points: np.ndarray, covariance: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return points (..., 2) mapped by a homography (3, 3), and their covariances (..., 2, 2), to first order.

    Without covariances those of the unit matrix are mapped.

    >>> place, spread = in_plane(np.diag([0.5, 0.5, 1.0]), np.array([4.0, 8.0]))
    >>> place.tolist(), spread.tolist()
    ([2.0, 4.0], [[0.25, 0.0], [0.0, 0.25]])
    """
    matrix, points = np.asarray(matrix, float), np.asarray(points, float)
    mapped = points @ matrix[:, :2].T + matrix[:, 2]
    place = mapped[..., :2] / mapped[..., 2:]
    slope = (matrix[:2, :2] - place[..., None] * matrix[2, :2]) / mapped[..., 2:, None]
    spread = np.eye(2) if covariance is None else np.asarray(covariance, float)
    return place, slope @ spread @ slope.swapaxes(-1, -2)


def load(
    path: str | Path, threads: int = 0, providers: Sequence[str] | None = None, threshold: float | None = None
) -> Model:
    """Return the model in an .onnx file; see `Model`."""
    return Model(path, threads, providers, threshold)


def check_inputs(images: Any, boxes: Any, channels: int = 3) -> tuple[list[np.ndarray], np.ndarray | None, bool]:
    """Return images and boxes (N, 4), one of each per prediction, and whether the one prediction has no leading axis.

    Takes what `Model` takes; raises ValueError for another shape or type.
    """
    single = isinstance(images, np.ndarray) and images.ndim < 4
    checked = [_as_gray(np.asarray(image), channels) for image in (images[None] if single else images)]
    if not checked:
        raise ValueError("no images to predict: the list is empty")
    for image in checked:
        if image.ndim != 3 or image.shape[-1] != channels or image.dtype != np.uint8 or 0 in image.shape:
            kind = "RGB of shape (H, W, 3)" if channels == 3 else f"of shape (H, W, {channels})"
            hint = "; numpy.asarray(PIL.Image.open(FILE).convert('RGB')) is one" if channels == 3 else ""
            raise ValueError(f"an image must be uint8 {kind}, got {image.dtype} {image.shape}{hint}")
    if boxes is None:
        return checked, None, single
    rows = np.atleast_2d(np.asarray(boxes, dtype=float))
    count = len(checked)
    if rows.ndim != 2 or rows.shape[1] != 4 or not len(rows) or not (single or len(rows) == count):
        raise ValueError(
            f"boxes have shape {np.shape(boxes)}; {count} images need ({count}, 4), one image (4,) or (N, 4)"
        )
    for i, box in enumerate(rows):
        if not (np.isfinite(box).all() and (box[2:] > box[:2]).all()):
            raise ValueError(f"box {i} is {box.tolist()}; it must be (left, top, right, bottom) with an area")
    return (checked * len(rows) if single else checked), rows, single and np.ndim(boxes) == 1


def _as_gray(image: np.ndarray, channels: int) -> np.ndarray:
    """Return an image for a model of gray images as (H, W, 1), of RGB its luma (Rec. 601); other images as they are.

    >>> _as_gray(np.array([[[255, 0, 0]]], np.uint8), 1).tolist(), _as_gray(np.array([[7]], np.uint8), 1).tolist()
    ([[[76]]], [[[7]]])
    """
    if channels != 1 or image.dtype != np.uint8 or image.ndim not in (2, 3):
        return image
    if image.ndim == 2:
        return image[..., None]
    if image.shape[2] != 3:
        return image
    red, green, blue = np.moveaxis(image.astype(np.int32), 2, 0)
    return ((9798 * red + 19235 * green + 3735 * blue + (1 << 14)) >> 15).astype(np.uint8)[..., None]


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
    # Threads sleep while they wait, as a server runs others; warnings are only about shapes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime has an exception for every fault of a file
        raise ValueError(f"{path} is no model that onnxruntime can run, or is damaged: {error}") from error


def _metadata(session: InferenceSession, path: Path) -> dict[str, Any]:
    """Return the metadata of the export; ValueError for none, and for that of a later version."""
    stored = session.get_modelmeta().custom_metadata_map.get(KEY)
    if stored is None:
        raise ValueError(f"{path} was not written by softpoint: it has no metadata about its outputs")
    try:
        metadata: dict[str, Any] = json.loads(stored)
        later = metadata["format"] > FORMAT
        height, width = map(int, metadata["size"])
        metadata |= {"keypoints": list(map(str, metadata["keypoints"])), "size": [height, width]}
        if (bits := metadata.setdefault("bits", None)) is not None:
            metadata["bits"] = int(bits)
        channels = metadata.setdefault("channels", 3)
        metadata["channels"] = list(map(int, channels)) if isinstance(channels, list) else int(channels)
        metadata["regions"] = [
            {"level": float(entry["level"])}
            | {"radius": {k: None if (r := entry["radius"][k]) is None else float(r) for k in metadata["keypoints"]}}
            | {"joint": None if entry["joint"] is None else float(entry["joint"])}
            for entry in metadata.get("regions", [])
        ]
        if (homography := metadata.setdefault("homography", None)) is not None:
            metadata["homography"] = np.array(homography, float).reshape(3, 3).tolist()
        if (finder := metadata.setdefault("finder", None)) is not None:
            metadata["finder"] = _finder(finder)
        if (finder is not None) != ("scores" in [value.name for value in session.get_outputs()]):
            raise ValueError("its outputs are not those of its finder")
        metadata["faults"] = list(map(str, metadata.get("faults", [])))
        if (crops := metadata["crops"]) is not None:
            crops["padding"] = float(crops["padding"])
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"{path}: its metadata cannot be read ({error!r}); export it again") from error
    if later:
        raise ValueError(
            f"{path} is of format {metadata['format']}, and this softpoint reads up to {FORMAT}; update it"
        )
    return metadata


def _finder(stored: Any) -> dict[str, Any]:
    """Return the input's size, largest number of subjects and threshold of a finder; ValueError for impossible ones."""
    height, width = map(int, stored["size"])
    most, threshold = int(stored["max_subjects"]), float(stored["threshold"])
    if min(height, width, most) < 1 or not 0 <= threshold <= 1:
        raise ValueError(f"its finder is {stored}")
    return {**stored, "size": [height, width], "max_subjects": most, "threshold": threshold}


def _whole(size: Sequence[int], into: Sequence[int], padding: float) -> np.ndarray:
    """Return the box of a whole image of `size` (H, W), centered to a whole pixel, in an input `into` (h, w).

    >>> _whole((480, 640), (256, 256), 1.0).round(3).tolist()
    [-0.5, -80.5, 639.5, 559.5]
    """
    scale = min(into[0] / size[0], into[1] / size[1])
    shown = np.array([into[1], into[0]])
    margin = np.round((shown - np.array([size[1], size[0]]) * scale) / 2)
    center = ((shown - 1) / 2 - (margin + scale / 2 - 0.5)) / scale
    half = shown / (2 * scale * padding)
    return np.concatenate([center - half, center + half])
