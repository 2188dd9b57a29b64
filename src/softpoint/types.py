"""The values that flow from data to network to files: a sample, a batch of them, and a prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, NotRequired, Self, TypedDict

from jaxtyping import Bool, Float, Float32, Integer, UInt8
from torch import Tensor

if TYPE_CHECKING:  # `softpoint.layers` needs torch alone
    import numpy as np


class Sample(TypedDict):
    """One training or evaluation sample, made from (seed, epoch, index).

    With `data.device_cache=true` a sample has `warp` and, where it is augmented, `color` in the place of `image`:
    the device makes the image from the canvas that it keeps.
    """

    image: NotRequired[UInt8[Tensor, "H W C"] | Float32[Tensor, "H W C"]]  # float32: not rounded, as a predictor's
    keypoints: Float[Tensor, "K 2"]  # (x, y) in input pixels; 0 where unlabeled
    visibility: Integer[Tensor, " K"]  # 0 unlabeled, 1 labeled but occluded, 2 visible, -1 known to be absent
    matrix: Float[Tensor, "3 3"]  # input pixels -> pixels of the original image
    scale: Float[Tensor, ""]  # length in original pixels that PCK and NME divide by
    size: Integer[Tensor, "2"]  # original height and width
    index: int
    center: NotRequired[Float[Tensor, "2"]]  # (x, y) of the subject's box in input pixels, of a crop
    group: str  # video, session or subject, which a split never divides
    record: NotRequired[Any]  # of an unrounded sample: labels in original pixels (`data.sources.Record`)
    error: NotRequired[str]  # why its image is blank and its points are hidden
    warp: NotRequired[Float[Tensor, "3 3"]]  # input pixels -> pixels of the canvas on the device
    color: NotRequired[Float[Tensor, " C"]]  # the color augmentation drawn for this sample, as numbers
    unlabeled: NotRequired[dict[str, Tensor]]  # images without labels in two views, see `WithUnlabeled`
    scene: NotRequired[dict[str, Tensor]]  # a whole image and its subjects, see `WithScenes`


class UnlabeledViews(TypedDict):
    """M images without labels per sample, each in two views, for a mean teacher."""

    plain: UInt8[Tensor, "B M H W C"]
    image: UInt8[Tensor, "B M H W C"]  # the plain view, strongly augmented
    matrix: Float[Tensor, "B M 3 3"]  # pixels of the plain view -> pixels of the augmented one
    order: Integer[Tensor, "B M K"]  # keypoint of the plain view at each position; a mirror exchanges pairs


class Batch(TypedDict):
    """B samples."""

    image: UInt8[Tensor, "B C H W"] | Float32[Tensor, "B C H W"]
    keypoints: Float[Tensor, "B K 2"]
    visibility: Integer[Tensor, "B K"]
    matrix: Float[Tensor, "B 3 3"]
    scale: Float[Tensor, " B"]
    size: Integer[Tensor, "B 2"]
    index: Integer[Tensor, " B"]
    center: NotRequired[Float[Tensor, "B 2"]]
    group: list[str]
    record: NotRequired[list[Any]]  # of the test split: labels in original pixels (`data.sources.Record`)
    unlabeled: NotRequired[UnlabeledViews]
    scene: NotRequired[SceneBatch]


class Prediction(TypedDict):
    """The output of a network for B images, in pixels of its input; a head adds the parts that its losses train."""

    logits: Float[Tensor, "B K h w"]  # their spatial softmax is the heatmap
    keypoints: Float[Tensor, "B K 2"]  # (x, y)
    confidence: Float[Tensor, "B K"]
    covariance: Float[Tensor, "B K 2 2"]  # px^2, x before y
    visibility: NotRequired[Float[Tensor, "B K 3"]]  # logits of absent, occluded, visible
    axis_x: NotRequired[Float[Tensor, "B K columns"]]  # SimCC: logits of the bins along x
    axis_y: NotRequired[Float[Tensor, "B K rows"]]  # SimCC: logits of the bins along y
    classes: NotRequired[Float[Tensor, "B K+1 h w"]]  # channel softmax: logits of each cell's class, background last
    mean: NotRequired[Float[Tensor, "B K 2"]]  # SimCC and regression: expected position in cells
    log_scale: NotRequired[Float[Tensor, "B K"]]  # regression: log of the errors' scale in cells
    attention: NotRequired[dict[str, list[Tensor]]]  # masks and router weights of each place, on request


class CenterMaps(NamedTuple):
    """The maps of a finder for B images, in cells of its stride."""

    logits: Float[Tensor, "B 1 h w"]  # their exponential is the expected number of subjects with their center in a cell
    boxes: Float[Tensor, "B 4 h w"]  # from the cell to the box's center, as fractions of its sides; log of these


class SceneBatch(TypedDict):
    """B whole images with up to N subjects and M regions of which nothing is known; NaN fills up."""

    image: UInt8[Tensor, "B C H W"]
    anchors: Float[Tensor, "B N 2"]  # (x, y) in pixels of the image
    boxes: Float[Tensor, "B N 4"]  # left, top, right, bottom
    ignored: Float[Tensor, "B M 4"]  # boxes in which no place teaches that there is no subject
    complete: Bool[Tensor, " B"]  # False where only places within boxes teach that


class FoundSubjects(NamedTuple):
    """The N subjects that a model finds in an image, in pixels of that image; the likeliest first."""

    keypoints: Float[np.ndarray, "N K 2"]  # (x, y)
    confidence: Float[np.ndarray, "N K"]
    covariance: Float[np.ndarray, "N K 2 2"]  # px^2, x before y
    score: Float[np.ndarray, " N"]  # probability that it is a subject
    boxes: Float[np.ndarray, "N 4"]  # left, top, right, bottom
    visibility: Float[np.ndarray, "N K 3"] | None = None  # probabilities of absent, occluded, visible, where learned


class AttentionMaps(NamedTuple):
    """The maps of one attention block for one image."""

    mask: Float[np.ndarray, "h w"]  # that the features are multiplied by
    branches: Float[np.ndarray, "n h w"]  # the mask that each branch alone would make
    router_weights: Float[np.ndarray, " n"]  # of the branches; their sum is 1
    names: tuple[str, ...]  # of the branches

    @classmethod
    def of_mask(cls, mask: Float[np.ndarray, "h w"]) -> Self:
        """Return the maps of a block of one branch and without a router, whose others are empty."""
        return cls(mask, mask[None][:0], mask.ravel()[:0], ())
