"""One run: from a description of it to its result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from keraslr import datasets, optimizers
from keraslr._about import require_tensorflow, versions
from keraslr._files import write_whole
from keraslr.datasets import Dataset
from keraslr.models import INITIALIZATIONS, MODELS
from keraslr.scaling import linear_scaling
from keraslr.schedules import ChainedScheduler, ConstantLR, LinearLR, PerEpoch, Schedule
from keraslr.schedules._parameters import MAX_TICKS, Number

if TYPE_CHECKING:
    import tensorflow as tf

# Called after each slice of an epoch with the steps done, the steps in all, and the result so far.
Progress = Callable[[int, int, "Result"], None]

_COUNT = Number("", int, at_least=1, at_most=MAX_TICKS)


@dataclasses.dataclass(frozen=True)
class Run:
    """What is to be trained, and how.

    Attributes:
        name: What to call it.
        schedule: A keraslr schedule, or a constant learning rate > 0.
        dataset: "auto", "fashion_mnist", "digits" or a `Dataset`.
        model: "lenet", or a function of a seed that builds a Keras model from float images in
            [0, 1] to logits.
        initialization: First weights of a named model, "pytorch" or "keras".
        optimizer: Name of a class of `keras.optimizers` or, where that has none of the name, of
            `keraslr.optimizers`.
        optimizer_arguments: Its arguments other than the learning rate.
        epochs: Passes over the training data, >= 1.
        batch_size: Examples per optimizer step, over all replicas, >= 1; the last step of an epoch
            takes what is left.
        seed: Of the first weights and of the order of the examples, >= 0.
    """

    name: str
    schedule: Schedule | float
    dataset: str | Dataset = "auto"
    model: str | Callable[[int], keras.Model] = "lenet"
    initialization: str = "pytorch"
    optimizer: str = "SGD"
    optimizer_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 30
    batch_size: int = 256
    seed: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name must be a string that says something. Received: {self.name!r}")
        if not isinstance(self.schedule, Schedule):
            rate = Number("", float, above=0).validated("schedule", self.schedule)
            object.__setattr__(self, "schedule", rate)
        if not isinstance(self.dataset, Dataset) and self.dataset not in datasets.NAMES:
            raise ValueError(
                f"dataset must be a Dataset or one of {', '.join(datasets.NAMES)}. "
                f"Received: dataset={self.dataset!r}"
            )
        if not callable(self.model) and self.model not in MODELS:
            raise ValueError(
                f"model must be a function that builds one, or one of {', '.join(MODELS)}. "
                f"Received: model={self.model!r}"
            )
        if self.initialization not in INITIALIZATIONS:
            raise ValueError(
                f"initialization must be one of {', '.join(INITIALIZATIONS)}. "
                f"Received: initialization={self.initialization!r}"
            )
        if _optimizer(self.optimizer) is None:
            raise ValueError(
                "optimizer must be the name of a class of keras.optimizers or keraslr.optimizers, "
                f'such as "SGD" or "Yogi". Received: optimizer={self.optimizer!r}'
            )
        try:
            # A copy, by way of JSON: the description must stay what it is.
            arguments = json.loads(json.dumps(dict(self.optimizer_arguments)))
        except (TypeError, ValueError):
            raise TypeError(
                "optimizer_arguments must be a mapping that JSON can hold. "
                f"Received: optimizer_arguments={self.optimizer_arguments!r}"
            ) from None
        object.__setattr__(self, "optimizer_arguments", arguments)
        if "learning_rate" in self.optimizer_arguments:
            raise ValueError(
                "optimizer_arguments must not hold learning_rate: that is the schedule's. "
                f"Received: optimizer_arguments={dict(self.optimizer_arguments)!r}"
            )
        for field in ("epochs", "batch_size"):
            object.__setattr__(self, field, _COUNT.validated(field, getattr(self, field)))
        seed = Number("", int, at_least=0).validated("seed", self.seed)
        object.__setattr__(self, "seed", seed)

    def description(self) -> dict[str, Any]:
        """All of it as JSON holds it; the schedule as the line of Python that rebuilds it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["schedule"] = repr(self.schedule)
        plain["optimizer_arguments"] = dict(self.optimizer_arguments)
        if isinstance(self.dataset, Dataset):
            # Its content too: what was trained on other data is another run.
            plain["dataset"] = f"{self.dataset.name} {_data_digest(self.dataset)}"
        if not isinstance(self.model, str):
            plain["model"] = _function_name(self.model)
            plain["initialization"] = "its own"
        return plain

    def on_replicas(self, replicas: int, *, warmup_epochs: int) -> Run:
        """This run for so many replicas, each with the batch that one device has here.

            batch_size      replicas * batch_size
            rate in epoch e replicas * schedule(e), as `linear_scaling` says

        During the warm-up the rate rises, step by step, from the one here to the scaled one: it is
        multiplied by (1 - x) / replicas + x, with x the share of the warm-up that is done. Epochs
        stay epochs: an epoch has fewer steps, and the schedule as many epochs.

        Args:
            replicas: `strategy.num_replicas_in_sync`, >= 1. With 1 it is this run.
            warmup_epochs: Epochs of the warm-up, >= 0 and at most those of the run. 5 in the
                source; 0 for a schedule that begins with a warm-up of its own.

        Raises:
            TypeError, ValueError: An argument is wrong, or the schedule counts in steps, of which
                there would be fewer. It has to be a constant rate, or
                `schedule.per_epoch(steps_per_epoch)` with the steps per epoch of this run; with a
                warm-up, one that has an initial learning rate.
            DatasetError: The dataset cannot be had, or is damaged.

        Source: Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour (2017).
        """
        replicas = _COUNT.validated("replicas", replicas)
        epochs = Number("", int, at_least=0, at_most=self.epochs)
        warmup_epochs = epochs.validated("warmup_epochs", warmup_epochs)
        if replicas == 1:
            return self
        examples = len(dataset_of(self).x_train)
        batch_size = replicas * self.batch_size
        before, after = (math.ceil(examples / size) for size in (self.batch_size, batch_size))
        schedule = self.schedule
        if isinstance(schedule, Schedule):
            if not isinstance(schedule, PerEpoch) or schedule.steps_per_epoch != before:
                raise ValueError(
                    "schedule must be a constant rate, or count the epochs of the run, as by "
                    f".per_epoch({before}). Received: schedule={schedule!r}"
                )
            inner, smooth = schedule.schedule, schedule.smooth
        else:
            inner, smooth = ConstantLR(schedule, factor=1.0), False
        factor = linear_scaling(1.0, batch_size, self.batch_size)
        scaled: Schedule = (inner * factor).per_epoch(after, smooth)
        if warmup_epochs:
            base = scaled.base_learning_rate
            if base is None:
                raise ValueError(
                    "warmup_epochs must be 0 for a schedule without an initial learning rate. "
                    f"Received: warmup_epochs={warmup_epochs}, schedule={schedule!r}"
                )
            rise = LinearLR(base, 1 / replicas, total_iters=warmup_epochs * after)
            scaled = ChainedScheduler((scaled, rise))
        return dataclasses.replace(self, schedule=scaled, batch_size=batch_size)

    def key(self) -> str:
        """A short hash of the description: equal for equal runs, and fit for a file's name."""
        text = json.dumps(self.description(), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


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


class ClusterError(RuntimeError):
    """Another worker of a cluster is gone, and the others cannot go on without it."""


def train(
    run: Run,
    *,
    strategy: tf.distribute.Strategy | None = None,
    backup: str | os.PathLike[str] | None = None,
    on_progress: Progress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Trains a model as described.

    The same run on the same machine gives the same numbers; on a GPU only after
    `tf.config.experimental.enable_op_determinism()`. It may be called in a background thread: all
    that Keras makes, it makes there.

    Under a strategy every step is one over the whole batch, of which each replica takes its part,
    so that loss, accuracy, rate and update are those of one device, up to rounding. Not so where a
    model has statistics of a batch, or dropout: each replica has its own.

    Args:
        run: What to train. Its `batch_size` is that of all replicas together; see
            `Run.on_replicas`.
        strategy: A synchronous `tf.distribute.Strategy`, such as `MirroredStrategy` for the GPUs of
            a machine, or `MultiWorkerMirroredStrategy`, under which all workers call this with the
            same run. None for one device.
        backup: Folder in which the run is kept after each epoch, and from which another call with
            the same run goes on, after a crash or a stop, with the same numbers. One that has
            finished is not trained again, until its file is deleted. Of several workers only the
            chief writes, and all have to see the folder.
        on_progress: Called some five times a second, and after each epoch, with the steps done,
            the steps in all, and the `Result` as it stands (do not change it).
        should_stop: Asked as often; once it says True, the run ends.

    Returns:
        The result. A loss that is not finite ends the run as "diverged", Ctrl-C as "interrupted":
        what was done by then is in it.

    Raises:
        RuntimeError: Keras runs on another backend than TensorFlow.
        TypeError, ValueError: The strategy is none that this can train under, has more replicas
            than the batch examples, or the backup is damaged.
        DatasetError: The dataset cannot be had, or is damaged.
        OSError: The backup cannot be written; the error names the path.
        ClusterError: Another worker is gone. Start all again, and they go on from the backup.
    """
    require_tensorflow()
    from keraslr import _distributed
    from keraslr._backup import Backup
    from keraslr._trainer import Trainer

    if strategy is not None:
        _distributed.require_synchronous(strategy, run.batch_size)
    data = dataset_of(run)
    result = Result({**run.description(), "dataset": data.name}, versions=versions())
    state = None
    kept = None if backup is None else Backup(backup, run)
    if kept is not None and (found := kept.read()) is not None:
        before, state = found
        result = dataclasses.replace(before, versions=result.versions)
    epochs = len(result.train_loss)
    trainer = Trainer(run, data, result, first_epoch=epochs, state=state, strategy=strategy)

    def keep() -> None:
        if kept is not None and is_chief(strategy):
            kept.write(result, trainer.state())

    try:
        with _distributed.lost_workers_named(strategy):
            if _distributed.mean_over_workers(strategy, epochs) != epochs:
                raise ValueError(
                    "backup must be a folder that all workers see: they found different epochs. "
                    f"Received: backup={os.fspath(backup or '')!r}, {epochs} epochs here"
                )
            trainer.advance(run.epochs - epochs, on_progress, should_stop, keep)
    except KeyboardInterrupt:
        result.status = "interrupted"
    return result


def is_chief(strategy: tf.distribute.Strategy | None) -> bool:
    """Whether this process is the one of a strategy's workers that writes results.

    True without a strategy, and where all replicas are in one process.
    """
    if strategy is None:
        return True
    from keraslr import _distributed

    return _distributed.is_chief(strategy)


def dataset_of(run: Run) -> Dataset:
    """What it is trained on, loaded.

    Raises:
        DatasetError: It cannot be had, or is damaged.
    """
    return run.dataset if isinstance(run.dataset, Dataset) else datasets.load(run.dataset)


def model_of(run: Run) -> keras.Model:
    """A new model of the kind that the run trains."""
    if isinstance(run.model, str):
        return MODELS[run.model](initialization=run.initialization, seed=run.seed)
    return run.model(run.seed)


def optimizer_of(run: Run, learning_rate: Any) -> keras.Optimizer:
    """A new optimizer of the kind that the run has, at that rate or under that schedule."""
    # A name that Keras does not count up: for each new name of a variable, TensorFlow keeps a
    # kernel, and with it the variable's memory.
    arguments = {"name": run.optimizer, **run.optimizer_arguments}
    return _optimizer(run.optimizer)(learning_rate=learning_rate, **arguments)


def _data_digest(data: Dataset) -> str:
    digest = hashlib.sha256()
    for part in (data.x_train, data.y_train, data.x_test, data.y_test):
        digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:8]


def _function_name(function: Callable[..., Any]) -> str:
    """Its name and, since a notebook's next cell may have another one of that name, its code's."""
    named = function if hasattr(function, "__qualname__") else type(function)
    name = f"{named.__module__}.{named.__qualname__}"
    code = getattr(function, "__code__", None)
    if code is None:
        return name
    # Nested code objects show their address, so they are left out.
    constants = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
    text = f"{code.co_code!r} {constants!r} {code.co_names!r}"
    return f"{name} {hashlib.sha256(text.encode()).hexdigest()[:8]}"


def _optimizer(name: Any) -> Any:
    """The optimizer class of that name, or None."""
    for place in (keras.optimizers, optimizers):
        kind = getattr(place, str(name), None)
        if isinstance(kind, type) and issubclass(kind, keras.Optimizer):
            return kind
    return None


def with_null(value: Any) -> Any:
    """`value` with None for the numbers that JSON does not have."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: with_null(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [with_null(each) for each in value]
    return value
