"""Parameter groups of the optimizer: learning rate of the backbone, and weight decay."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import Optimizer

# Parameters of more than one dimension that are not decayed: biases, and those that do not start at 0.
_NOT_DECAYED = ("bias", "raw_temperature", "refine_x", "refine_y")


def parameter_groups(net: nn.Module) -> list[dict[str, Any]]:
    """Return groups for an optimizer: of the backbone and the rest, each with and without weight decay.

    Norms and biases are not decayed: the next layer would only compensate for it. Source: He et al., Bag of Tricks for
    Image Classification, arXiv:1812.01187.

    >>> net = nn.ModuleDict({"backbone": nn.Linear(2, 3), "head": nn.Linear(3, 1)})
    >>> [(group["name"], sum(p.numel() for p in group["params"])) for group in parameter_groups(net)]
    [('backbone', 6), ('backbone, not decayed', 3), ('rest', 3), ('rest, not decayed', 1)]
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in net.named_parameters():
        part = "backbone" if name.startswith(("backbone.", "finder.backbone.")) else "rest"
        vector = parameter.ndim < 2 or name.endswith(_NOT_DECAYED)
        title = f"{part}, not decayed" if vector else part
        settings: dict[str, Any] = {"weight_decay": 0.0} if vector else {}
        groups.setdefault(title, {"name": title, "params": [], **settings})["params"].append(parameter)
    return list(groups.values())


def slow_backbone(optimizer: Optimizer, factor: float) -> Optimizer:
    """Return `optimizer` with the learning rate of its backbone groups times `factor`; call it before any schedule.

    Raises ValueError for a factor that is not positive: 0 would still compute the backbone's gradients.
    """
    if not 0 < factor < float("inf"):
        raise ValueError(
            f"module.backbone_rate must be positive, got {factor}; to freeze the backbone for a part of the run, set "
            "callbacks.freeze.fraction"
        )
    for group in optimizer.param_groups:
        if group.get("name", "").startswith("backbone"):
            group["lr"] *= factor
    return optimizer
