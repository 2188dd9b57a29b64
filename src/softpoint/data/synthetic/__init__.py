"""Procedural scenes with exact keypoints, each a function of a seed."""

from softpoint.data.synthetic.canvas import Scene
from softpoint.data.synthetic.figure import Figure
from softpoint.data.synthetic.shapes import Shapes

__all__ = ["Figure", "Scene", "Shapes"]
