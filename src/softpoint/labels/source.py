"""The settings of labeled images: where they are and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from softpoint.images.channels import check_channels
from softpoint.images.costs import MAX_PIXELS
from softpoint.images.read_options import ReadOptions
from softpoint.labels.boxes import BOX_SOURCES
from softpoint.labels.label_sets import Paths
from softpoint.labels.missing import Missing, marks_of
from softpoint.labels.plane import Plane
from softpoint.suggest import check_choice

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class LabelSource:
    """Labeled images and how they are read.

    Args:
        labels: a label file or the folder of a project, or a list of these; see `merge_labels`.
        images: the folder that the paths in it start from, or one for each of a list; None for that of the labels.
        format: of the labels; None recognizes it.
        fetch: the public set that the labels belong to, for the message that they are missing.
        mode: "image" makes one sample per image with one subject each, "instance" one crop per subject, "multi" the
            same crops and the whole images, in which a model learns to find the subjects.
        boxes: of crops: "labels" or "keypoints"; None for those of the labels where there are any; or a file of boxes
            for `read_boxes`, see `matched_boxes`.
        padding: factor by which a crop is larger than its box.
        categories, keypoints: names to select; None for all.
        flip_pairs, edges: replace those that the labels state or their names suggest.
        skeleton: of a list: "same" in all, or the "union".
        missing: "auto", "none", or a list of further coordinates that mark missing points; see `marks_of`.
        unlabeled: "unknown", or "absent" where an unlabeled point is not in the image.
        out_of_frame: "error", or "drop" to unlabel points outside their image.
        on_error: "error", or "skip" to leave out rows and images that cannot be used.
        exif, max_pixels, bits, channels: see `ReadOptions`.
        mm_per_pixel, homography: where the images show a plane, see `Plane.of`.
        verify: decode every image once, to find damaged ones and those that two splits share; results are kept
            in `cache_dir` until an image changes.
        cache_dir: of scans and decoded images; see `user_cache_dir`.
    """

    labels: Paths
    images: Paths | None = None
    format: str | None = None
    fetch: str | None = None
    mode: str = "image"
    boxes: str | None = None
    padding: float = 1.25
    categories: Sequence[str] | None = None
    keypoints: Sequence[str] | None = None
    flip_pairs: Pairs | None = None
    edges: Pairs | None = None
    skeleton: str = "same"
    missing: Missing = "auto"
    unlabeled: str = "unknown"
    out_of_frame: str = "error"
    on_error: str = "error"
    exif: str = "error"
    max_pixels: int = MAX_PIXELS
    bits: int | None = None
    channels: int | Sequence[int] = 3
    mm_per_pixel: float | Sequence[float] | None = None
    homography: str | Path | Sequence[Sequence[float]] | None = None
    verify: bool = True
    cache_dir: str | Path | None = None

    def __post_init__(self) -> None:
        sets = [self.labels] if isinstance(self.labels, str | Path) else self.labels
        if (
            not sets
            or not isinstance(sets, Sequence)
            or not all(isinstance(one, str | Path) and str(one) for one in sets)
        ):
            given = "null" if self.labels is None else self.labels
            raise ValueError(f"data.labels={given}: give a label file or a project's folder, or a list of them")
        check_choice("data.mode", self.mode, ("image", "instance", "multi"))
        marks_of(self.missing)
        if self.boxes not in BOX_SOURCES and self.mode == "image":
            raise ValueError(
                f"data.boxes={self.boxes} is for crops of single subjects; set data.mode=instance or multi too"
            )
        check_choice("data.skeleton", self.skeleton, ("same", "union"))
        check_choice("data.unlabeled", self.unlabeled, ("unknown", "absent"))
        if (self.skeleton, self.unlabeled) == ("union", "absent"):
            raise ValueError(
                "data.skeleton=union with data.unlabeled=absent would teach that a keypoint which a set never labels is"
                " not in its images; leave one of the two out"
            )
        check_choice("data.out_of_frame", self.out_of_frame, ("error", "drop"))
        check_choice("data.on_error", self.on_error, ("error", "skip"))
        _ = self.options, self.plane  # which check them

    @property
    def options(self) -> ReadOptions:
        """How the images are read."""
        return ReadOptions(self.exif, self.max_pixels, self.bits, check_channels(self.channels))

    @property
    def plane(self) -> Plane | None:
        """The plane that the images show; None where only pixels are known."""
        return Plane.of(self.mm_per_pixel, self.homography)
