"""One training run: what it is, how it is trained, and how it is steered while it runs."""

from keraslr.training._live import LiveRun, SteeredSchedule
from keraslr.training._result import ClusterError, Progress, Record, Result
from keraslr.training._run import Run
from keraslr.training._train import is_chief, train

__all__ = [
    "ClusterError",
    "LiveRun",
    "Progress",
    "Record",
    "Result",
    "Run",
    "SteeredSchedule",
    "is_chief",
    "train",
]
