"""Evaluation of trained models: predictions of a split, metrics with intervals, tables and figures of them."""

from softpoint.evaluation.comparison import compare
from softpoint.evaluation.results import Results
from softpoint.evaluation.summary import evaluate

__all__ = ["Results", "compare", "evaluate"]
