"""One training run: its description, its training, and its steering while it runs."""

from keraslr.training._live import LiveRun
from keraslr.training._result import ClusterError, LiveProgress, OnProgress, Record, Result
from keraslr.training._run import Run
from keraslr.training._steering import SteeredSchedule
from keraslr.training._train import is_chief, train

__all__ = [
    "ClusterError",
    "LiveProgress",
    "LiveRun",
    "OnProgress",
    "Record",
    "Result",
    "Run",
    "SteeredSchedule",
    "is_chief",
    "train",
]
