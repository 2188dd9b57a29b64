"""Procedural scenes with exact keypoints: nothing to download, and every byte follows from a seed."""

from softpoint.data.synthetic.canvas import Scene
from softpoint.data.synthetic.figure import Figure
from softpoint.data.synthetic.shapes import Shapes

__all__ = ["Figure", "Scene", "Shapes"]
