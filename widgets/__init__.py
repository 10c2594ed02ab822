"""Panels of ipywidgets for notebooks: schedules, optimizers and training to try by hand."""

from widgets.advice import AdvicePanel
from widgets.app import App
from widgets.comparison import ComparisonPanel
from widgets.descent import DescentPanel
from widgets.live_plot import LivePlot
from widgets.schedule import SchedulePanel
from widgets.smoothing import SmoothingPanel
from widgets.training import TrainingPanel

__all__ = [
    "AdvicePanel",
    "App",
    "ComparisonPanel",
    "DescentPanel",
    "LivePlot",
    "SchedulePanel",
    "SmoothingPanel",
    "TrainingPanel",
]
