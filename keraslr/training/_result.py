"""The result of a run, and a record of it while it is under way."""

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
    """What came of a run.

    Attributes:
        run: Its description.
        status: "finished", "diverged" (a loss that is not finite), "stopped" (by `should_stop`),
            "interrupted" (by Ctrl-C) or "failed" (of a `LiveRun`: by its error). Whatever it is,
            the numbers are all that was done.
        loss, accuracy: Per step: mean loss of the batch, and its share of right answers, both
            before the update.
        learning_rate: Per step: the rate that the update applied.
        train_loss, train_accuracy: Per epoch: means over its examples as they were trained.
        test_loss, test_accuracy: Per epoch: over the test data, after it.
        epoch_seconds: Per epoch: wall time in seconds, test included.
        wall_time: Seconds from the start to the end.
        examples_per_second: Training examples per second, tests and first epoch's set-up included.
        device: Name of the device.
        versions: Of Python and of the packages.
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
        """The result as strict JSON; a number that JSON does not have is null."""
        plain = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del plain["model"]
        return json.dumps(with_null(plain), allow_nan=False, indent=None)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the JSON, whole or not at all.

        Raises:
            OSError: It cannot be written; the error names the path.
        """
        return write_whole(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Reads what `save` wrote.

        Raises:
            ValueError: The file is not a result; the error names the path.
        """
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path} is not the result of a run: {error}") from None

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Reads what `to_json` gave.

        Raises:
            TypeError, ValueError: It is something else.
        """
        result = cls(**json.loads(text))
        for field in dataclasses.fields(cls):
            value = getattr(result, field.name)
            if isinstance(value, list):
                setattr(result, field.name, [math.nan if x is None else x for x in value])
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class Record:
    """The figures of a run that may be under way, as at one moment.

    Attributes:
        loss, accuracy, learning_rate: Per step: float arrays of one length; see `Result`.
        train_loss, train_accuracy, test_loss, test_accuracy, epoch_seconds: Per epoch that was
            tested: lists of one length; see `Result`.
        test_steps: Per such epoch: steps done at its end. Where a run was stopped within an epoch
            and then went on with the next, no multiple of the steps of an epoch.
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
        """Copies of what a result holds, also while another thread appends to it."""
        # Epochs first: all steps of the epochs that are read here are then there.
        names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "epoch_seconds")
        by_epoch = [*(list(getattr(result, name)) for name in names), list(test_steps)]
        by_step = [list(each) for each in (result.loss, result.accuracy, result.learning_rate)]
        epochs, steps = min(map(len, by_epoch)), min(map(len, by_step))
        arrays = [np.array(each[:steps], float) for each in by_step]
        lists: list[list[Any]] = [each[:epochs] for each in by_epoch]
        return cls(arrays[0], arrays[1], arrays[2], *lists)


@dataclasses.dataclass(frozen=True)
class LiveProgress:
    """Progress of a run under way.

    Attributes:
        steps_done: Optimizer steps done.
        steps: Optimizer steps in all, those of later legs included; None until the data are loaded.
        examples_per_second: Recent training examples per second, with tests and without pauses;
            None until two slices are done.
        seconds_left: Seconds of training left at that speed; None where it is unknown, and for a
            run that ended before its last step.
    """

    steps_done: int
    steps: int | None
    examples_per_second: float | None
    seconds_left: float | None


# Called after each slice of an epoch with the steps done, the steps in all, and the result so far.
OnProgress = Callable[[int, int, Result], None]


class ClusterError(RuntimeError):
    """Another worker of a cluster is gone, and the others cannot go on without it."""
