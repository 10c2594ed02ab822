"""Comparisons: several schedules, each trained with several seeds."""

from keraslr.comparison._compare import compare
from keraslr.comparison._results import FIGURES, Comparison, Curve, Row, Series
from keraslr.jobs._dispatch import Progress

__all__ = ["FIGURES", "Comparison", "Curve", "Progress", "Row", "Series", "compare"]
