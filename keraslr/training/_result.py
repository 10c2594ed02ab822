"""The result of a run, and its record during the run."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keraslr._files import with_null, write_whole


@dataclasses.dataclass
class Result:
    """The result of a run.

    Attributes:
        run: Description of the run.
        status: "finished", "diverged" (a loss that is not finite), "stopped" (by `should_stop`),
            "interrupted" (by Ctrl-C) or "failed" (of a `LiveRun`: by its error). With each status
            the numbers cover all steps done.
        loss, accuracy: Per step: mean loss of the batch and share of right answers in it, both
            before the update.
        learning_rate: Per step: rate that the update applied.
        train_loss, train_accuracy: Per epoch: means of the steps' figures over its examples.
        test_loss, test_accuracy: Per epoch: means over the test data, after the epoch.
        epoch_seconds: Per epoch: wall time in seconds, test included.
        wall_time: Wall time of the whole run in seconds.
        examples_per_second: Training examples per second, time for tests and set-up included.
        device: Name of the device.
        versions: Versions of Python and of the packages.
        model: The trained model; not in the JSON.
    """

    run: dict[str, Any]
    status: str = "running"
    loss: list[float] = dataclasses.field(default_factory=list)
    accuracy: list[float] = dataclasses.field(default_factory=list)
    learning_rate: list[float] = dataclasses.field(default_factory=list)
    train_loss: list[float] = dataclasses.field(default_factory=list)
    train_accuracy: list[float] = dataclasses.field(default_factory=list)
    test_loss: list[float] = dataclasses.field(default_factory=list)
    test_accuracy: list[float] = dataclasses.field(default_factory=list)
    epoch_seconds: list[float] = dataclasses.field(default_factory=list)
    wall_time: float = 0.0
    examples_per_second: float = 0.0
    device: str = ""
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    model: keras.Model | None = dataclasses.field(default=None, compare=False, repr=False)

    def to_json(self) -> str:
        """Returns the result as strict JSON; a number that JSON cannot hold is null."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del plain["model"]
        return json.dumps(with_null(plain), allow_nan=False, indent=None)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the JSON: the whole file or nothing.

        Raises:
            OSError: The file cannot be written; the error names the path.
        """
        return write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Reads a result that `save` wrote.

        Raises:
            ValueError: The file is not a result; the error names the path.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not the result of a run: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Reads a result from the text that `to_json` returned.

        Raises:
            TypeError, ValueError: The text is not a result.
        """
        result = cls(**json.loads(text))
        for field in dataclasses.fields(cls):
            value = getattr(result, field.name)
            if isinstance(value, list):
                setattr(result, field.name, [math.nan if x is None else x for x in value])
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """The figures of a run at one moment, also of a run that is still training.

    Attributes:
        loss, accuracy, learning_rate: Per step: float arrays of one length; see `Result`.
        train_loss, train_accuracy, test_loss, test_accuracy, epoch_seconds: Per tested
            epoch: lists of one length; see `Result`.
        test_steps: Per tested epoch: steps done at its end. Not a multiple of the steps per epoch
            if the run was stopped within an epoch and then continued with the next.
    """

    loss: np.ndarray
    accuracy: np.ndarray
    learning_rate: np.ndarray
    train_loss: list[float]
    train_accuracy: list[float]
    test_loss: list[float]
    test_accuracy: list[float]
    epoch_seconds: list[float]
    test_steps: list[int]

    @classmethod
    def of(cls, result: Result, test_steps: list[int]) -> Record:
        """Copies the figures of a result, also while another thread appends to it."""
        # Epochs first, so that the steps of all epochs read here are present.
        names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "epoch_seconds")
        by_epoch = [*(list(getattr(result, name)) for name in names), list(test_steps)]
        by_step = [list(each) for each in (result.loss, result.accuracy, result.learning_rate)]
        epochs, steps = min(map(len, by_epoch)), min(map(len, by_step))
        arrays = [np.array(each[:steps], float) for each in by_step]
        lists: list[list[Any]] = [each[:epochs] for each in by_epoch]
        return cls(arrays[0], arrays[1], arrays[2], *lists)


@dataclasses.dataclass(frozen=True)
class LiveProgress:
    """The progress of a run that is still training.

    Attributes:
        steps_done: Optimizer steps done.
        steps: Total optimizer steps, those of later legs included; None until the data are loaded.
        examples_per_second: Recent training examples per second, time for tests included and pauses
            excluded; None until two slices are done.
        seconds_left: Seconds of training left at that speed; None if the speed is unknown, or if
            the run ended before its last step.
    """

    steps_done: int
    steps: int | None
    examples_per_second: float | None
    seconds_left: float | None


# Called after each slice of an epoch with the steps done, the total steps, and the result so far.
OnProgress = Callable[[int, int, Result], None]


class ClusterError(RuntimeError):
    """Another worker of a cluster is lost, and the others cannot continue without it."""
