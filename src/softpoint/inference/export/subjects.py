"""The parts of a program that finds subjects in one image and reads the keypoints of each."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor, nn
from torchvision.ops import nms

from softpoint.functional import find_centers
from softpoint.inference.checkpoint import Checkpoint
from softpoint.inference.export.graph import ExportModule
from softpoint.inference.export.resample import cropped, letterboxed
from softpoint.inference.export.resample_region import resample_region
from softpoint.inference.finding import FEWEST, MAX_PEAKS, SAME_BOX
from softpoint.inference.subjects import SAME_POSE, SIGMA
from softpoint.models import KeypointNet


class FindSubjects(nn.Module):
    """Finds the boxes of up to N subjects in one image of any size, each once; see `SubjectFinder`."""

    def __init__(self, checkpoint: Checkpoint, max_subjects: int) -> None:
        super().__init__()
        assert isinstance(checkpoint.net, KeypointNet) and checkpoint.finder is not None
        self.net, self.size, self.max_subjects = checkpoint.net, checkpoint.finder["size"], max_subjects

    def forward(
        self, images: UInt8[Tensor, "1 H W C"], threshold: Float[Tensor, ""]
    ) -> tuple[Float[Tensor, "n 4"], Float[Tensor, " n"]]:
        """Return boxes in pixels of the image and their scores, at least `threshold`; the likeliest first."""
        finder = self.net.finder
        assert finder is not None
        placed = letterboxed((images.shape[1], images.shape[2]), self.size, images)
        maps = self.net.find(resample_region(images, *placed, *self.size) / 255)
        count = min(MAX_PEAKS, maps.logits[0].numel())
        (expected,), (boxes,) = find_centers(maps.logits, maps.boxes, finder.stride, count)
        score = finder.score(expected)
        # Of the same order as the expected numbers: what follows a row in it cannot remove the row.
        (rows,) = ((expected >= FEWEST) & (score >= threshold)).nonzero(as_tuple=True)
        distinct = nms(boxes[rows], expected[rows], SAME_BOX)
        # No slice, whose length would be constant in a program: tracing assumes two rows at least.
        kept = rows[distinct[torch.arange(distinct.shape[0]) < self.max_subjects]]
        back = (boxes[kept].double().unflatten(-1, (2, 2)) - placed.offset) / placed.scale
        return back.flatten(1).float(), score[kept]


class ReadSubject(nn.Module):
    """Reads the keypoints in one box of an image, as `ExportModule` does."""

    def __init__(self, module: ExportModule) -> None:
        super().__init__()
        self.module, self.outputs = module, module.outputs

    def forward(self, images: UInt8[Tensor, "1 H W C"], boxes: Float[Tensor, "1 4"]) -> tuple[Tensor, ...]:
        """Return the module's outputs, each with a leading 1."""
        assert self.module.padding is not None
        placed = cropped(boxes, self.module.size, self.module.padding)
        inputs = resample_region(images, placed.scale[0], placed.offset[0], *self.module.size)
        return self.module.read(placed, inputs)


class SamePoses(nn.Module):
    """Compares the poses of up to N subjects; see `distinct_poses`."""

    def __init__(self, max_subjects: int) -> None:
        super().__init__()
        self.max_subjects = max_subjects

    def forward(self, keypoints: Float[Tensor, "n K 2"], boxes: Float[Tensor, "n 4"]) -> Bool[Tensor, "N N"]:
        """Return which two are of one subject; False beyond n."""
        N = self.max_subjects
        # Of N rows, as runtimes err in arithmetic on none.
        keypoints, boxes = (torch.cat([part, part.new_zeros(N, *part.shape[1:])])[:N] for part in (keypoints, boxes))
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
        distances = (keypoints[:, None] - keypoints).square().sum(-1)
        larger = torch.maximum(areas[:, None], areas)[..., None]
        return (-distances / (2 * larger * (2 * SIGMA) ** 2)).exp().mean(-1) > SAME_POSE
