"""Train, measure and ship 2-D keypoint models: spatial softmax, soft-argmax, Dynamic Spatial Attention.

Names are imported when first asked for, so that `import softpoint` costs nothing.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "softpoint.functional": (
        "spatial_softmax",
        "axis_softmax",
        "spatial_expectation",
        "spatial_covariance",
        "soft_argmax",
        "entropy",
        "information_content",
        "render_gaussians",
        "spatial_softmax_with_loss",
    ),
    "softpoint.layers": ("DynamicSpatialAttention", "SpatialSoftArgmax", "SpatialSoftmax"),
    "softpoint.models": ("KeypointNet",),
    "softpoint.data": ("LabeledData",),
    "softpoint.training": ("KeypointLoss", "KeypointModule"),
    "softpoint.cli.from_python": ("train", "Run", "TrainingError"),
    "softpoint.inference": ("load_predictor", "predict_video", "save_pretrained", "push_to_hub"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [*_HOME]
__version__ = "0.2.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
