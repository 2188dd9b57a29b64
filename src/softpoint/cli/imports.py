"""Quicker imports of large libraries by a command."""

from __future__ import annotations

import gc
import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import RLock
from types import ModuleType
from typing import Any

# What Lightning and softpoint take from torchmetrics.
_METRICS = {
    "Metric": "torchmetrics.metric",
    "MetricCollection": "torchmetrics.collections",
    "MeanMetric": "torchmetrics.aggregation",
}


# Names that the import of a submodule looks for.
_OF_IMPORTS = {"__cached__", "__file__", "__loader__", "__package__", "__path__", "__spec__"}
_lock = RLock()


class _Metrics(ModuleType):
    """The package torchmetrics, whose metrics are imported when another name than those of `_METRICS` is used."""

    is_loading = False

    def __getattr__(self, name: str) -> Any:
        if name == "__version__":
            return import_module("torchmetrics.__about__").__version__
        if name in _METRICS:
            import_module("torchmetrics.utilities")  # which imports the others in an order that works
            return getattr(import_module(_METRICS[name]), name)
        if name not in _OF_IMPORTS:
            _load(self)
        return ModuleType.__getattribute__(self, name)  # not super(): the class may have changed

    def __dir__(self) -> list[str]:
        _load(self)
        return [*ModuleType.__dir__(self)]


def _load(metrics: _Metrics) -> None:
    """Import all metrics, once: other threads wait, and what is imported meanwhile finds the names that are there."""
    with _lock:
        if type(metrics) is not _Metrics or _Metrics.is_loading:
            return
        assert metrics.__spec__ is not None and metrics.__spec__.loader is not None
        _Metrics.is_loading = True
        try:
            metrics.__spec__.loader.exec_module(metrics)
            metrics.__class__ = ModuleType  # type: ignore[assignment]
        finally:
            _Metrics.is_loading = False


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
