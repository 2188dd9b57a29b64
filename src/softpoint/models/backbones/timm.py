"""Any network of timm that returns features."""

from __future__ import annotations

import inspect
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.models.backbones.backbone import check_stages
from softpoint.models.backbones.weights import load_weights
from softpoint.suggest import did_you_mean

_log = logging.getLogger(__name__)


class Timm(nn.Module):
    """timm's network `name` as a feature extractor, with the mean and std that its weights were trained with.

    Args:
        name: any of `timm.list_models()`.
        stages: stages whose features forward returns, ascending: 2 is stride 4, 5 is stride 32; None for all that the
            network has from stride 4 on.
        pretrained: start from NAME.safetensors in `folder` if that file exists, else from timm's download; None starts
            from random weights, with a warning, where neither is available.
        weights: a local safetensors file to start from, in timm's names.
        folder: of weights that need no download.

    Raises ValueError for an unknown name or stage, and OSError for a download that fails.
    """

    # Name and license (None if unknown) of the weights that it started from.
    started_from: dict[str, str | None] | None = None
    recompute = False  # compute the features within a block again in the backward pass

    def __init__(
        self,
        name: str,
        stages: Sequence[int] | None = None,
        pretrained: bool | None = False,
        weights: str | Path | None = None,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        import timm  # takes a second, which other backbones need not wait for

        if not timm.is_model(name):
            hint = did_you_mean(name, timm.list_models())
            hint = hint if hint.startswith("did") else "timm.list_models() lists them"  # a thousand names
            raise ValueError(f"backbone.name: timm has no model {name!r}; {hint}")
        ends = _stage_ends(timm, name)
        if not ends:
            raise ValueError(
                f"backbone.name: {name} has no stages of stride 2^k; choose another, such as convnext_tiny"
            )
        self.stages = check_stages([stage for stage in ends if stage >= 2] if stages is None else stages, ends)
        config: Any = timm.get_pretrained_cfg(name)
        if weights is not None:
            self.started_from = {"weights": Path(weights).name, "license": None}
        elif pretrained is not False:
            path = Path(folder or "") / f"{name}.safetensors"
            weights = path if folder and path.is_file() else None
            self.started_from = {"weights": f"timm {config.architecture}.{config.tag}", "license": config.license}
        download = pretrained is not False and weights is None
        indices = [ends[stage] for stage in self.stages]
        self.body, downloaded = _features(timm, name, indices, download, pretrained is None, folder)
        if download and not downloaded:
            self.started_from = None
        self.stride = tuple(self.body.feature_info.reduction())
        self.out_channels = tuple(self.body.feature_info.channels())
        self.channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        self.mean, self.std = tuple(config.mean), tuple(config.std)
        self.only_size = _only_size(timm, name, self.stride[-1])
        if weights is not None:
            # timm wraps the features of a transformer around the whole network, as `model`.
            load_weights(getattr(self.body, "model", self.body), weights, spare=whole_state(name))

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        if self.only_size and self.only_size != (size := tuple(image.shape[-2:])):
            height, width = self.only_size
            raise ValueError(
                f"backbone.name: {self.name} takes images of {height} x {width} alone, not {size[0]} x {size[1]}; set"
                f" data.size=[{height},{width}], or choose another, such as convnext_tiny"
            )
        if self.recompute:
            getattr(self.body, "model", self.body).set_grad_checkpointing()
        return [x.movedim(-1, 1) if self.channels_last else x for x in self.body(image)]


def whole_state(name: str) -> dict[str, Tensor]:
    """Return names and shapes of the tensors of timm's whole network, classifier included, without their memory."""
    import timm

    with torch.device("meta"):
        state: dict[str, Tensor] = timm.create_model(name).state_dict()
    return state


def _features(
    timm: Any, name: str, indices: list[int], download: bool, optional: bool, folder: str | Path | None
) -> tuple[Any, bool]:
    """Return timm's network, and whether it has downloaded weights.

    A download that fails is an OSError, or if `optional` a warning, and the weights are random.
    """
    build = partial(timm.create_model, name, features_only=True, out_indices=indices, **_of_any_size(timm, name))
    if not download:
        return build(pretrained=False), False
    hub = timm.get_pretrained_cfg(name).hf_hub_id or "its own page"
    _log.info(
        "starting from the weights of %s: asking huggingface.co for %s; without the network: backbone.pretrained=false,"
        " or %s.safetensors in backbone.folder=%s", name, hub, name, folder,
    )  # fmt: skip
    try:
        with _offline_at_once():
            return build(pretrained=True), True
    except Exception as error:  # whatever a library for downloads raises without a network
        message = (
            f"timm could not download the weights of {name} ({type(error).__name__}); softpoint weights list shows"
            f" those that also come from a package index; or fetch model.safetensors of {hub} on the Hugging Face hub"
            f" elsewhere and put it, as {name}.safetensors, in"
            f" {folder or 'a folder, and name that as backbone.folder'}"
        )
        if not optional:
            raise OSError(f"{message}, or start without: backbone.pretrained=false") from error
        _log.warning("%s. This run starts from random weights, which costs much accuracy on few labels", message)
        return build(pretrained=False), False


@contextmanager
def _offline_at_once() -> Iterator[None]:
    """Put the hub's library in offline mode where there is no network: it would else retry for a minute."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    proxied = any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"))
    if not before and not proxied:
        try:
            socket.create_connection((urlsplit(constants.ENDPOINT).hostname, 443), timeout=5).close()
        except OSError:
            constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


# Arguments by which timm's transformers take images of other sizes than those of their training, where they have one.
_ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}


def _of_any_size(timm: Any, name: str) -> dict[str, bool]:
    """Return the arguments of the network that let it take images of any multiple of its stride."""
    with torch.device("meta"):
        accepted = inspect.signature(type(timm.create_model(name)).__init__).parameters
    return {key: value for key, value in _ANY_SIZE.items() if key in accepted}


def _only_size(timm: Any, name: str, stride: int) -> tuple[int, int] | None:
    """Return the height and width of the images that the network takes, None if it takes any multiple of its stride."""
    (_, height, width), other = timm.get_pretrained_cfg(name).input_size, 3 * stride
    with torch.device("meta"):
        net = timm.create_model(name, features_only=True, **_of_any_size(timm, name)).eval()
        if _takes(net, other, 2 * other) or not _takes(net, height, width):
            return None
    return height, width


def _takes(net: Any, height: int, width: int) -> bool:
    try:
        net(torch.empty(1, 3, height, width))
    except (RuntimeError, AssertionError, ValueError, NotImplementedError):
        return False
    return True


def _stage_ends(timm: Any, name: str) -> dict[int, int]:
    """Return the index of the last of the network's features of stride 2^k, for each stage k from 1 on.

    Raises ValueError for a network of which timm returns no features.
    """
    try:
        with torch.device("meta"):
            info = timm.create_model(name, features_only=True).feature_info
    except (RuntimeError, AttributeError, TypeError) as error:
        raise ValueError(
            f"backbone.name: timm returns no features of {name} ({type(error).__name__}); choose another, such as"
            " convnext_tiny"
        ) from error
    return {r.bit_length() - 1: i for r, i in zip(info.reduction(), info.out_indices, strict=True) if r & (r - 1) == 0}
