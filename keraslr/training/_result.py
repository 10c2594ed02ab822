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

RATE = "learning_rate"


class Figures:
    """The figures of a run by their Keras names, and the usual ones by short names."""

    steps: Any
    epochs: Any

    @property
    def steps_done(self) -> int:
        """Optimizer steps recorded."""
        return len(self.steps.get(RATE, ()))

    @property
    def epochs_done(self) -> int:
        """Whole epochs recorded."""
        return len(self.epochs.get(RATE, ()))

    @property
    def loss(self) -> Any:
        """Loss per step: `steps["loss"]`."""
        return self.steps.get("loss", [])

    @property
    def accuracy(self) -> Any:
        """Accuracy per step: `steps["accuracy"]`; empty without that metric."""
        return self.steps.get("accuracy", [])

    @property
    def learning_rate(self) -> Any:
        """Applied rate per step: `steps["learning_rate"]`."""
        return self.steps.get(RATE, [])

    @property
    def train_loss(self) -> Any:
        """Training loss per epoch: `epochs["loss"]`."""
        return self.epochs.get("loss", [])

    @property
    def train_accuracy(self) -> Any:
        """Training accuracy per epoch: `epochs["accuracy"]`; empty without that metric."""
        return self.epochs.get("accuracy", [])

    @property
    def test_loss(self) -> Any:
        """Validation loss per epoch: `epochs["val_loss"]`; empty without validation data."""
        return self.epochs.get("val_loss", [])

    @property
    def test_accuracy(self) -> Any:
        """Validation accuracy per epoch: `epochs["val_accuracy"]`; empty without that metric."""
        return self.epochs.get("val_accuracy", [])


@dataclasses.dataclass
class Result(Figures):
    """The result of a run.

    Attributes:
        run: Description of the run.
        status: "finished", "diverged" (a loss that is not finite), "stopped" (by `should_stop`, or
            by a callback), "interrupted" (by Ctrl-C) or "failed" (of a `LiveRun`: by its error).
            With each status the numbers cover all steps done.
        steps: Per step, by name: what the model's train step reports of the batch, before the
            update, such as "loss" and each compiled metric; and "learning_rate", the rate that the
            update applied. Lists of one length.
        epochs: Per epoch, by name: the same as `fit` reports it, over the examples of the epoch;
            with validation data also "val_loss" and so on, after the epoch; and "learning_rate",
            that of the epoch's last step. Lists of one length.
        epoch_seconds: Per epoch: wall time in seconds, validation included.
        wall_time: Wall time of the whole run in seconds.
        examples_per_second: Training examples per second, time for validation and set-up included.
        device: Name of the device.
        versions: Versions of Python and of the packages.
        model: The trained model; not in the JSON.
    """

    run: dict[str, Any]
    status: str = "running"
    steps: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    epochs: dict[str, list[float]] = dataclasses.field(default_factory=dict)
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
        for lists in (result.steps, result.epochs):
            for name, values in lists.items():
                lists[name] = [math.nan if value is None else value for value in values]
        return result


@dataclasses.dataclass(frozen=True, eq=False)
class Record(Figures):
    """The figures of a run at one moment, also of a run that is still training.

    Attributes:
        steps: Per step, by name: float arrays of one length; see `Result`.
        epochs: Per whole epoch, by name: lists of one length; see `Result`.
        epoch_seconds: Per whole epoch: wall time in seconds.
        test_steps: Per whole epoch: steps done at its end. Not a multiple of the steps per epoch if
            the run was stopped within an epoch and then continued with the next.
    """

    steps: dict[str, np.ndarray]
    epochs: dict[str, list[float]]
    epoch_seconds: list[float]
    test_steps: list[int]

    @classmethod
    def of(cls, result: Result, test_steps: list[int]) -> Record:
        """Copies the figures of a result, also while another thread appends to it."""
        # Epochs first, so that the steps of all epochs read here are present.
        by_epoch = {name: list(values) for name, values in list(result.epochs.items())}
        seconds, ends = list(result.epoch_seconds), list(test_steps)
        by_step = {name: list(values) for name, values in list(result.steps.items())}
        epochs = min([len(seconds), len(ends), *map(len, by_epoch.values())])
        done = min(map(len, by_step.values()), default=0)
        return cls(
            {name: np.array(values[:done], float) for name, values in by_step.items()},
            {name: values[:epochs] for name, values in by_epoch.items()},
            seconds[:epochs],
            ends[:epochs],
        )


@dataclasses.dataclass(frozen=True)
class LiveProgress:
    """The progress of a run that is still training.

    Attributes:
        steps_done: Optimizer steps done.
        steps: Total optimizer steps, those of later legs included; None until the data are loaded,
            and, if nobody knows their length, until the first epoch is over.
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
