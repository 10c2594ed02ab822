"""Callbacks for `fit`: the plateau rule, a clock in epochs, a log of the applied rate, backups."""

from keraslr.callbacks._backup import BackupAndRestore, BackupWarning
from keraslr.callbacks._epochs import EpochSchedule
from keraslr.callbacks._logger import LearningRateLogger
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._plateau import ReduceLROnPlateau

__all__ = [
    "BackupAndRestore",
    "BackupWarning",
    "EpochSchedule",
    "LearningRateLogger",
    "LearningRateWarning",
    "ReduceLROnPlateau",
]
