"""Callbacks for `fit`: the plateau rule, a clock in epochs, and a log of the applied rate."""

from keraslr.callbacks._epochs import EpochSchedule
from keraslr.callbacks._logger import LearningRateLogger
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._plateau import ReduceLROnPlateau

__all__ = ["EpochSchedule", "LearningRateLogger", "LearningRateWarning", "ReduceLROnPlateau"]
