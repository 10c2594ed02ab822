"""Figures from data. Nothing is computed or trained here.

A function makes a figure for files and reports; a chart keeps a figure and redraws it.
"""

from keraslr._chart_data import (
    Curve,
    FitCurves,
    FitFigure,
    LineFigure,
    RangeTestCurve,
    Series,
    TrainingCurve,
)
from keraslr.plotting._chart import Chart, figure_png
from keraslr.plotting._descents import DescentChart, optimizer_style
from keraslr.plotting._fit import FitChart
from keraslr.plotting._line_figure import line_figure
from keraslr.plotting._lines import LineChart
from keraslr.plotting._live import TrainingChart
from keraslr.plotting._schedules import ScheduleChart, schedule_figure
from keraslr.plotting._style import COLOURS, LOCK, line_style, write_figure
from keraslr.plotting._training import ComparisonChart, comparison_figure, range_test_figure

__all__ = [
    "COLOURS",
    "LOCK",
    "Chart",
    "ComparisonChart",
    "Curve",
    "DescentChart",
    "FitChart",
    "FitCurves",
    "FitFigure",
    "LineChart",
    "LineFigure",
    "RangeTestCurve",
    "ScheduleChart",
    "Series",
    "TrainingChart",
    "TrainingCurve",
    "comparison_figure",
    "figure_png",
    "line_figure",
    "line_style",
    "optimizer_style",
    "range_test_figure",
    "schedule_figure",
    "write_figure",
]
