"""Comparisons: several schedules, each trained with several seeds."""

from keraslr._chart_data import Curve, Series
from keraslr.comparison._compare import compare
from keraslr.comparison._results import Comparison
from keraslr.comparison._table import FIGURES, Row

__all__ = ["FIGURES", "Comparison", "Curve", "Row", "Series", "compare"]
