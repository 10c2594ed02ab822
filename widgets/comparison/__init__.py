"""The panel that compares schedules."""

from widgets.comparison._panel import ComparisonPanel

__all__ = ["ComparisonPanel"]
