"""Quicker imports of large libraries by a command."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any

# What Lightning and softpoint take from torchmetrics.
_METRICS = {
    "Metric": "torchmetrics.metric",
    "MetricCollection": "torchmetrics.collections",
    "MeanMetric": "torchmetrics.aggregation",
}


class _Metrics(ModuleType):
    """The package torchmetrics, whose metrics are imported when another name than those of `_METRICS` is used."""

    def __getattr__(self, name: str) -> Any:
        if name in _METRICS:
            import_module("torchmetrics.utilities")  # which imports the others in an order that works
            return getattr(import_module(_METRICS[name]), name)
        if name.startswith("__") or (spec := self.__spec__) is None or spec.loader is None:
            raise AttributeError(name)
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def import_quickly(names: Sequence[str]) -> None:
    """Import libraries without a search for garbage, of which imports make little: it takes a sixth of their time."""
    if missing := [name for name in names if name not in sys.modules]:
        _defer_metrics()
        gc.disable()
        try:
            for name in missing:
                import_module(name)
        finally:
            gc.freeze()  # no later search looks at what stays
            gc.enable()


def _defer_metrics() -> None:
    """Let Lightning import the base classes of torchmetrics alone: all of its metrics import torchvision and scipy."""
    if "torchmetrics" not in sys.modules and (spec := find_spec("torchmetrics")):
        module = module_from_spec(spec)
        module.__class__ = _Metrics
        module._logger = logging.getLogger("torchmetrics")  # type: ignore[attr-defined]
        sys.modules["torchmetrics"] = module
