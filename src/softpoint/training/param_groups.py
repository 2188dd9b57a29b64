"""Which parameters learn how fast, and which are kept small."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

# Shifts, and what starts at a value that is not 0, in more dimensions than one.
_SPARED = ("bias", "raw_temperature", "refine_x", "refine_y")


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Groups for an optimizer: the backbone apart from the rest, matrices apart from norms and biases.

    A scale or a shift that weight decay pulls to zero only makes the layer after it learn the same again, so vectors
    are not decayed. Source: He et al., Bag of Tricks for Image Classification, arXiv:1812.01187.

    >>> net = nn.ModuleDict({"backbone": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    >>> [(group["name"], sum(p.numel() for p in group["params"])) for group in parameter_groups(net)]
    [('backbone', 6), ('backbone, not decayed', 3), ('rest', 3), ('rest, not decayed', 1)]
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        part = "backbone" if name.startswith("backbone.") else "rest"
        vector = parameter.ndim < 2 or name.endswith(_SPARED)
        title = f"{part}, not decayed" if vector else part
        kept: dict[str, Any] = {"weight_decay": 0.0} if vector else {}
        groups.setdefault(title, {"name": title, "params": [], **kept})["params"].append(parameter)
    return list(groups.values())


def slow_backbone(optimizer: Optimizer, factor: float) -> Optimizer:
    """`optimizer` with the learning rate of its backbone groups times `factor`, before any schedule sees them.

    Raises ValueError for a factor that is not positive: 0 would still run the backbone's gradients for nothing.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(
            f"module.backbone_rate must be positive, got {factor}; to keep the backbone as it is for a while, "
            "set callbacks.freeze.fraction"
        )
    for group in optimizer.param_groups:
        if group.get("name", "").startswith("backbone"):
            group["lr"] *= factor
    return optimizer
