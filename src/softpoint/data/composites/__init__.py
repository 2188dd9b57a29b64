"""Subjects of other training images pasted into an image: neighbors, for sets that hardly show any."""

from softpoint.data.composites.paster import Composite, CompositeCrops, CompositeScenes, Paster, composite_scenes

__all__ = ["Composite", "CompositeCrops", "CompositeScenes", "Paster", "composite_scenes"]
