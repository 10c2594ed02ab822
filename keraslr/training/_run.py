"""The description of a run, and the dataset, model and optimizer built from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from keraslr import datasets, optimizers
from keraslr._parameters import MAX_TICKS, Number
from keraslr.datasets import Dataset
from keraslr.models import INITIALIZATIONS, MODELS
from keraslr.scaling import linear_scaling
from keraslr.schedules import ChainedScheduler, ConstantLR, LinearLR, PerEpoch, Schedule
from keraslr.training._identity import model_digest
from keraslr.training._model import built_model, require_builder

_COUNT = Number("", int, at_least=1, at_most=MAX_TICKS)


@dataclasses.dataclass(frozen=True)
class Run:
    """The description of a training run.

    Attributes:
        name: Name of the run.
        schedule: A keraslr schedule, or a constant learning rate > 0.
        dataset: "auto", "fashion_mnist", "digits" or a `Dataset`.
        model: "lenet", or a function of a seed that builds a Keras model from float images in
            [0, 1] to ten logits, without softmax.
        initialization: First weights of a named model, "pytorch" or "keras".
        optimizer: Name of a class of `keras.optimizers` or, if there is none of that name, of
            `keraslr.optimizers`.
        optimizer_arguments: Arguments of the optimizer, except the learning rate.
        epochs: Passes over the training data, >= 1.
        batch_size: Examples per optimizer step, over all replicas, >= 1; the last step of an epoch
            takes the remaining examples.
        seed: Seed of the first weights and of the order of the examples, >= 0.
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
            raise ValueError(f"name must be a string that is not blank. Received: {self.name!r}")
        if not isinstance(self.schedule, Schedule):
            rate = Number("", float, above=0).validated("schedule", self.schedule)
            object.__setattr__(self, "schedule", rate)
        require_dataset(self.dataset)
        if not isinstance(self.model, str):
            require_builder(self.model)
        elif self.model not in MODELS:
            raise ValueError(
                f"model must be a function that builds a model, or one of {', '.join(MODELS)}. "
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
            # A copy through JSON, so that later changes by the caller do not change the run.
            arguments = json.loads(json.dumps(dict(self.optimizer_arguments)))
        except (TypeError, ValueError):
            raise TypeError(
                "optimizer_arguments must be a mapping that JSON can hold. "
                f"Received: optimizer_arguments={self.optimizer_arguments!r}"
            ) from None
        object.__setattr__(self, "optimizer_arguments", arguments)
        if "learning_rate" in self.optimizer_arguments:
            raise ValueError(
                "optimizer_arguments must not hold learning_rate: the schedule sets it. "
                f"Received: optimizer_arguments={dict(self.optimizer_arguments)!r}"
            )
        for field in ("epochs", "batch_size"):
            object.__setattr__(self, field, _COUNT.validated(field, getattr(self, field)))
        seed = Number("", int, at_least=0).validated("seed", self.seed)
        object.__setattr__(self, "seed", seed)

    def description(self) -> dict[str, Any]:
        """Returns the run as JSON values; the schedule as the expression that rebuilds it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["schedule"] = repr(self.schedule)
        plain["optimizer_arguments"] = dict(self.optimizer_arguments)
        if isinstance(self.dataset, Dataset):
            # With the content: a run on other data is another run.
            plain["dataset"] = f"{self.dataset.name} {_data_digest(self.dataset)}"
        if not isinstance(self.model, str):
            plain["model"] = _function_name(self.model)
            plain["initialization"] = "its own"
        return plain

    def on_replicas(self, replicas: int, *, warmup_epochs: int) -> Run:
        """Returns this run for N replicas, each with the batch that one device has in this run.

            batch_size      replicas * batch_size
            rate in epoch e replicas * schedule(e), as `linear_scaling` says

        During the warm-up the rate rises, step by step, from this run's rate to the scaled rate:
        the scaled rate is multiplied by (1 - x) / replicas + x, where x is the completed share of
        the warm-up. The run and its schedule keep their number of epochs; an epoch has fewer steps.

        Args:
            replicas: `num_replicas_in_sync` of the distribution strategy, >= 1. 1 returns this run.
            warmup_epochs: Epochs of the warm-up, >= 0 and at most those of the run. 5 in the
                source; 0 for a schedule that already begins with a warm-up.

        Raises:
            TypeError, ValueError: An argument is wrong, or the schedule counts in steps, of which
                there would be fewer. The schedule has to be a constant rate, or
                `schedule.per_epoch(steps_per_epoch)` with the steps per epoch of this run; with a
                warm-up it needs an initial learning rate.
            DatasetError: The dataset is unavailable or damaged.

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
                    "schedule must be a constant rate, or count the epochs of the run: add "
                    f".per_epoch({before}) to it. Received: schedule={schedule!r}"
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
        """Returns a short hash of the run: equal for equal runs, and usable as a file name.

        The hash depends on the model, not on the name of the function that builds it: on config,
        compile settings, first weights, and code that is not Keras's. To find these, the function
        is called once or twice, and the digest is kept with this object.

        Raises:
            TypeError, ValueError: The model cannot be trained, or the function builds a different
                model each time.
        """
        what = self.description()
        policy = keras.config.dtype_policy().name
        if not isinstance(self.model, str):
            # Not in a field, so that equal runs stay equal.
            digests = self.__dict__.setdefault("_model_digests", {})
            if policy not in digests:
                digests[policy] = model_digest(self.model, self.seed)
            what["model"] = digests[policy]
        if policy != "float32":
            what["dtype_policy"] = policy
        text = json.dumps(what, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def require_dataset(dataset: Any) -> None:
    """Raises a `TypeError` or `ValueError` unless the value is a dataset or the name of one."""
    names = ", ".join(datasets.NAMES)
    if isinstance(dataset, str):
        if dataset not in datasets.NAMES:
            raise ValueError(
                f"dataset must be a Dataset or one of {names}. Received: dataset={dataset!r}"
            )
    elif not isinstance(dataset, Dataset):
        raise TypeError(
            f"dataset must be a Dataset or one of {names}: make arrays a dataset with "
            "keraslr.datasets.Dataset(name, x_train, y_train, x_test, y_test). "
            f"Received: dataset of type {type(dataset).__name__}"
        )


def require_run(run: Any) -> None:
    """Raises a `TypeError` unless the value is a `Run`."""
    if not isinstance(run, Run):
        raise TypeError(
            "run must be a Run, as keraslr.training.Run(name, schedule, dataset, model) makes it. "
            f"Received: run={run!r}"
        )


def dataset_of(run: Run) -> Dataset:
    """Returns the dataset that the run is trained on, loaded.

    Raises:
        DatasetError: The dataset is unavailable or damaged.
    """
    return run.dataset if isinstance(run.dataset, Dataset) else datasets.load(run.dataset)


def model_of(run: Run) -> keras.Model:
    """Returns a new model of the kind that the run trains."""
    if isinstance(run.model, str):
        return MODELS[run.model](initialization=run.initialization, seed=run.seed)
    return built_model(run.model, run.seed)


def optimizer_of(run: Run, learning_rate: Any) -> keras.Optimizer:
    """Returns a new optimizer of the run's kind, with this rate or schedule."""
    # A fixed name, to which Keras adds no number: for each new name of a variable, TensorFlow keeps
    # a kernel, and with it the variable's memory.
    arguments = {"name": run.optimizer, **run.optimizer_arguments}
    return _optimizer(run.optimizer)(learning_rate=learning_rate, **arguments)


def _data_digest(data: Dataset) -> str:
    digest = hashlib.sha256()
    for part in (data.x_train, data.y_train, data.x_test, data.y_test):
        digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:8]


def _function_name(function: Callable[..., Any]) -> str:
    if isinstance(function, functools.partial):
        return _function_name(function.func)
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"


def _optimizer(name: Any) -> Any:
    """Returns the optimizer class of that name, or None."""
    for place in (keras.optimizers, optimizers):
        kind = getattr(place, str(name), None)
        if isinstance(kind, type) and issubclass(kind, keras.Optimizer):
            return kind
    return None
