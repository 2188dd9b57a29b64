"""Spatial softmax and attention to look at: feature maps, all their numbers, figures, and the Python behind them."""

from softpoint.demo.analysis import MapAnalysis, Statistics, analyze
from softpoint.demo.arrays import as_batch, load_maps
from softpoint.demo.attention import attention_steps, map_features, seeded_module, seeded_run
from softpoint.demo.feature_maps import KINDS, feature_map, intensity
from softpoint.demo.sources import NamedMap, array_map, file_map, image_map, kind_map, snippet

__all__ = [
    "KINDS", "MapAnalysis", "NamedMap", "Statistics", "analyze", "array_map", "as_batch", "attention_steps",
    "feature_map", "file_map", "image_map", "intensity", "kind_map", "load_maps", "map_features", "seeded_module",
    "seeded_run", "snippet",
]  # fmt: skip
