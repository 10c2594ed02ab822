"""The panel that trains a network live."""

from widgets.training._panel import TrainingPanel

__all__ = ["TrainingPanel"]
