"""Figures from results. Nothing is computed or trained here.

A function makes a figure, for files and reports; a chart keeps one and draws it again and again.
"""

from keraslr.plotting._chart import Chart, figure_png
from keraslr.plotting._descents import DescentChart, optimizer_style
from keraslr.plotting._lines import LineChart
from keraslr.plotting._live import TrainingChart, TrainingCurve
from keraslr.plotting._pictures import picture_figure
from keraslr.plotting._schedules import ScheduleChart, schedule_figure
from keraslr.plotting._style import COLOURS, LOCK, line_style, write_figure
from keraslr.plotting._training import ComparisonChart, comparison_figure, range_test_figure

__all__ = [
    "COLOURS",
    "LOCK",
    "Chart",
    "ComparisonChart",
    "DescentChart",
    "LineChart",
    "ScheduleChart",
    "TrainingChart",
    "TrainingCurve",
    "comparison_figure",
    "figure_png",
    "line_style",
    "optimizer_style",
    "picture_figure",
    "range_test_figure",
    "schedule_figure",
    "write_figure",
]
