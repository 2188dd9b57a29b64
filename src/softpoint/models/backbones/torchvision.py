"""Any convolutional classifier of torchvision, divided into stages where its resolution halves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from softpoint.models.backbones.backbone import check_stages, run_blocks
from softpoint.models.backbones.weights import load_weights
from softpoint.suggest import did_you_mean


class Torchvision(nn.Module):
    """torchvision's network `name` without its classifier, returning the features of chosen stages.

    Stage k ends with the last block of stride 2^k, determined by a run on a tensor without data.

    Args:
        name: a function of torchvision.models, such as "resnet18".
        stages: stages whose features forward returns, ascending: 2 is stride 4, 5 is stride 32.
        pretrained: start from torchvision's download of its default weights.
        weights: a local safetensors file to start from, in torchvision's names.

    >>> net = Torchvision("resnet18", stages=(2, 5))
    >>> net.out_channels, net.stride
    ((64, 512), (4, 32))
    """

    # Name and license (None if unknown) of the weights that it started from.
    started_from: dict[str, str | None] | None = None
    recompute = False  # compute the features within a block again in the backward pass
    # Those of torchvision's own training.
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)

    def __init__(
        self,
        name: str,
        stages: Sequence[int] = (2, 3, 4, 5),
        pretrained: bool = False,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        import torchvision  # takes a second, which other backbones need not wait for

        names = torchvision.models.list_models(module=torchvision.models)
        if name not in names:
            raise ValueError(f"backbone.name: torchvision has no model {name!r}; {did_you_mean(name, names)}")
        network = torchvision.models.get_model(name)
        if pretrained:
            published: Any = torchvision.models.get_model_weights(name)
            try:
                network.load_state_dict(published.DEFAULT.get_state_dict(check_hash=True, weights_only=True))
            except OSError as error:
                raise OSError(
                    f"backbone.pretrained=true could not download {published.DEFAULT} of torchvision ({error}); set"
                    " backbone.weights=FILE.safetensors, or backbone.pretrained=false to start from random weights"
                ) from error
            self.started_from = {"weights": f"torchvision {published.DEFAULT}", "license": "BSD-3-Clause"}
        whole = list(network.state_dict())
        blocks = dict(getattr(network, "features", network).named_children())
        for classifier in ("avgpool", "fc", "classifier", "head", "heads"):
            blocks.pop(classifier, None)
        try:
            ends = _stage_ends(blocks)
        except (AssertionError, RuntimeError):  # blocks that do not follow one another
            ends = {}
        if not ends:
            raise ValueError(f"backbone.name: {name} has no stages of stride 2^k; choose another, such as resnet18")
        self.stages = check_stages(stages, ends)
        self.stride = tuple(2**stage for stage in stages)
        self.out_channels = tuple(ends[stage][1] for stage in stages)
        self._returned = tuple(ends[stage][0] for stage in stages)
        self.body = nn.ModuleDict(dict(list(blocks.items())[: self._returned[-1] + 1]))
        if weights is not None:
            load_weights(self.body, weights, spare=whole, prefix="features.")
            self.started_from = {"weights": Path(weights).name, "license": None}

    def forward(self, image: Float[Tensor, "B C H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        return run_blocks(self.body.values(), self._returned, image, self.recompute)


@torch.no_grad()
def _stage_ends(blocks: dict[str, nn.Module], side: int = 64) -> dict[int, tuple[int, int]]:
    """Position and channels of the last block of stride 2^k, for each stage k."""
    ends = {}
    stages = {side >> stage: stage for stage in range(6)}
    x = torch.empty(1, 3, side, side, device="meta")
    for i, block in enumerate(blocks.values()):
        # The shape after the block, whose own tensors hold data and statistics that must not change.
        state = {key: torch.empty_like(value, device="meta") for key, value in block.state_dict().items()}
        was_training = block.training
        x = torch.func.functional_call(block.eval(), state, x)
        block.train(was_training)
        # A convolution without padding leaves fewer cells than side / 2^k, which are on no grid of that stride.
        if x.shape[-1] == x.shape[-2] and x.shape[-1] in stages:
            ends[stages[x.shape[-1]]] = (i, x.shape[1])
    return ends
