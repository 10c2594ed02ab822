"""ipywidgets panels for keraslr: schedules, optimizers and training that one can take hold of."""

from widgets.advice_panel import AdvicePanel
from widgets.app import App
from widgets.comparison import ComparisonPanel
from widgets.descent_panel import DescentPanel
from widgets.schedule_panel import SchedulePanel
from widgets.smoothing_panel import SmoothingPanel
from widgets.training import TrainingPanel

__all__ = [
    "AdvicePanel",
    "App",
    "ComparisonPanel",
    "DescentPanel",
    "SchedulePanel",
    "SmoothingPanel",
    "TrainingPanel",
]
