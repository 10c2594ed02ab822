"""ipywidgets panels for keraslr: schedules that one can take hold of."""

from widgets.schedule_panel import SchedulePanel

__all__ = ["SchedulePanel"]
