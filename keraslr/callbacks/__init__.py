"""Callbacks for `fit`: the plateau rule, and a log of the rate that was really applied."""

from keraslr.callbacks._logger import LearningRateLogger
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._plateau import ReduceLROnPlateau

__all__ = ["LearningRateLogger", "LearningRateWarning", "ReduceLROnPlateau"]
