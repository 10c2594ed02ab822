"""Callbacks for `fit`: the plateau rule, a log of the rate that was really applied, and backups."""

from keraslr.callbacks._backup import BackupAndRestore, BackupWarning
from keraslr.callbacks._logger import LearningRateLogger
from keraslr.callbacks._origin import LearningRateWarning
from keraslr.callbacks._plateau import ReduceLROnPlateau

__all__ = [
    "BackupAndRestore",
    "BackupWarning",
    "LearningRateLogger",
    "LearningRateWarning",
    "ReduceLROnPlateau",
]
