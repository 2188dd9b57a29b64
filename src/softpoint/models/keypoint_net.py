"""The whole network: from raw pixels to keypoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from softpoint.layers import Calibration, Normalize, replace_batch_norms, second_stage, separate_norms
from softpoint.models.backbones import Backbone, take_channels
from softpoint.models.finder import Finder
from softpoint.types import CenterMaps, Prediction


class KeypointNet(nn.Module):
    """normalize -> backbone -> attention -> decoder -> attention -> head -> calibration.

    With a `finder` it also finds subjects in whole images (`find`), whose crops it then reads.

    Args:
        num_keypoints: K.
        backbone: returns features, and has the attributes `stages`, `stride`, `out_channels`, `mean` and `std`; or a
            class that is called without arguments and returns it.
        decoder: called with `in_channels` and `in_strides`, returns the module that fuses features.
        head: called with `in_channels`, `num_keypoints` and `stride`, returns the module that reads keypoints.
        attention: called for each place, with `in_channels` where it takes that argument, returns a block of attention;
            None or an empty mapping for none. A block returns features of the shape that it got, alone or followed by
            what there is to show: its mask (B, 1, h, w), and weights (B, n) of n branches.
        attention_stages: backbone stages after which a block follows (stage k has stride 2^k).
        attention_before_head: whether a block is between decoder and head.
        norm: called with a number of channels, returns what takes the place of each batch normalization; None keeps it.
        in_channels: of the images, None for RGB; the first convolution of the backbone is changed to take others.
        mean, std: by which the input is standardized, in [0, 1], one for each channel; None for those of the backbone,
            which are averaged where the images are not RGB.
        pad: extend an image whose sides are no multiples of the largest stride with zeros at its right and bottom,
            which changes no coordinate; otherwise such an image is an error.
        mark: called with `channels` and `strides` of the backbone's features, returns the layer that marks the subject
            of a crop in them; None where no other subject is near.
        finder: called with `shared`, the backbone, and `in_channels`, returns the stage that finds subjects; None where
            images or crops show one subject.

    Raises ValueError for an attention stage that the backbone does not return.
    """

    backbone: Backbone
    decoder: Any
    head: Any
    finder: Finder | None

    def __init__(
        self,
        num_keypoints: int,
        backbone: Backbone | Callable[[], Backbone],
        decoder: Callable[..., nn.Module],
        head: Callable[..., nn.Module],
        attention: Callable[..., nn.Module] | Mapping[str, Any] | None = None,
        attention_stages: Sequence[int] = (),
        attention_before_head: bool = True,
        norm: Callable[[int], nn.Module] | None = None,
        pad: bool = False,
        in_channels: int | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        mark: Callable[..., nn.Module] | None = None,
        finder: Callable[..., Finder] | None = None,
    ) -> None:
        super().__init__()
        if num_keypoints is None or num_keypoints < 1:
            raise ValueError(f"num_keypoints must be at least 1, got {num_keypoints}")
        given: Any = backbone
        backbone = cast(Backbone, given if isinstance(given, nn.Module) else given())
        if absent := set(attention_stages) - set(backbone.stages):
            raise ValueError(
                f"model.attention_stages names stage {min(absent)}, but the backbone returns "
                f"{', '.join(map(str, backbone.stages))}; add it to backbone.stages or choose one of these"
            )
        self.num_keypoints = num_keypoints
        self.pad = pad
        self.in_channels = in_channels = 3 if in_channels is None else in_channels
        mean = _each_channel("mean", mean, backbone.mean, in_channels)
        self.normalize = Normalize(mean, _each_channel("std", std, backbone.std, in_channels))
        self.backbone = backbone
        if in_channels != 3:
            take_channels(backbone, in_channels)  # type: ignore[arg-type]
        self.decoder = decoder(in_channels=backbone.out_channels, in_strides=backbone.stride)
        self.head = head(in_channels=self.decoder.out_channels, num_keypoints=num_keypoints, stride=self.decoder.stride)
        channels = {f"stage{k}": backbone.out_channels[list(backbone.stages).index(k)] for k in attention_stages}
        if attention_before_head:
            channels["head"] = self.decoder.out_channels
        self.attention = nn.ModuleDict(_attention_blocks(attention, channels) if callable(attention) else {})
        self.calibration = Calibration(num_keypoints)
        self.mark = None if mark is None else mark(channels=backbone.out_channels, strides=backbone.stride)
        self.finder = None if finder is None else finder(shared=backbone, in_channels=in_channels)
        if norm is not None:
            replace_batch_norms(self, norm)
        if self.finder is not None and self.finder.backbone is None:
            separate_norms(cast(nn.Module, backbone))

    @property
    def stride(self) -> int:
        """Number of pixels that both sides of an image must be multiples of."""
        return max(self.backbone.stride)

    def forward(
        self,
        image: Float[Tensor, "B C H W"] | Tensor,
        return_attention: bool = False,
        center: Float[Tensor, "B 2"] | None = None,
    ) -> Prediction:
        """Return the head's prediction, in pixels of `image` (uint8, or float in [0, 1]).

        Once the calibration is fitted, `confidence` is the probability of an error up to `calibration.radius` px and
        `covariance` that of the error; before, both are what the head reads from its heatmaps.
        With `return_attention`, `attention` maps each place of a block to what the block returns beside the features.
        `center` (x, y) is that of the subject that is meant, for a network with a `mark`; None for that of the image.
        """
        masks: dict[str, list[Tensor]] = {}
        prediction: Prediction = self.calibration(self.uncalibrated(image, masks, center), self.decoder.stride)
        return {**prediction, "attention": masks} if return_attention else prediction

    def uncalibrated(
        self,
        image: Float[Tensor, "B C H W"] | Tensor,
        masks: dict[str, list[Tensor]] | None = None,
        center: Float[Tensor, "B 2"] | None = None,
    ) -> Prediction:
        """Return what the head itself reads; `masks` gets what the blocks of attention return beside the features."""
        size, masks = image.shape[-2:], {} if masks is None else masks
        features = self.backbone(self._fit(self.normalize(image)))
        for i, stage in enumerate(self.backbone.stages):
            features[i] = self._attend(f"stage{stage}", features[i], masks)
        if self.mark is not None:
            features = self.mark(features, (size[0], size[1]), center)
        x = self._attend("head", self.decoder(features), masks)
        if self.pad:
            x = x[..., : -(-size[0] // self.decoder.stride), : -(-size[1] // self.decoder.stride)]
        prediction: Prediction = self.head(x)
        return prediction

    def find(self, image: Float[Tensor, "B C H W"] | Tensor) -> CenterMaps:
        """Return the finder's maps for whole images (uint8, or float in [0, 1]); see `functional.find_centers`."""
        assert self.finder is not None
        size, stride = image.shape[-2:], self.finder.stride
        backbone = self.backbone if self.finder.backbone is None else self.finder.backbone
        with second_stage():
            features = backbone(self._fit(self.normalize(image)))
        maps: CenterMaps = self.finder(features)
        rows, columns = (-(-length // stride) for length in size)
        return CenterMaps(*(part[..., :rows, :columns] for part in maps)) if self.pad else maps

    def _attend(self, place: str, x: Tensor, masks: dict[str, list[Tensor]]) -> Tensor:
        if place not in self.attention:
            return x
        output = self.attention[place](x)
        if isinstance(output, Tensor):
            return output
        x, *masks[place] = output
        return x

    def check_size(self, height: int, width: int) -> None:
        """Raise ValueError for a size of images that is no multiple of the network's stride, without `pad`."""
        for side, length in (("height", height), ("width", width)):
            if (missing := -length % self.stride) and not self.pad:
                raise ValueError(
                    f"image {side} {length} is not divisible by the network's stride {self.stride}; set data.size to "
                    f"a multiple, such as {length + missing}, or model.pad=true"
                )

    def _fit(self, image: Tensor) -> Tensor:
        """The image, padded to a multiple of the stride where `pad` allows it."""
        height, width = image.shape[-2:]
        self.check_size(height, width)
        below, right = -height % self.stride, -width % self.stride
        return F.pad(image, (0, right, 0, below)) if below or right else image


def _attention_blocks(make: Callable[..., nn.Module], channels: Mapping[str, int]) -> dict[str, nn.Module]:
    """Return a block for each place, of its number of channels, which spatial attention does not ask for."""
    takes_channels = "in_channels" in signature(make).parameters
    return {place: make(in_channels=count) if takes_channels else make() for place, count in channels.items()}


def _each_channel(name: str, given: Sequence[float] | None, of_rgb: Sequence[float], channels: int) -> Sequence[float]:
    """Return the numbers of the channels of the input: those given, or those of a backbone for RGB."""
    if given is None:
        return of_rgb if channels == 3 else [sum(of_rgb) / len(of_rgb)] * channels
    if len(given) != channels:
        raise ValueError(f"model.{name}={list(given)} must have one number for each of the {channels} channels")
    return given
