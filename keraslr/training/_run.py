"""The description of a run, and the dataset, model and optimizer built from it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import math
from collections.abc import Callable, Collection, Mapping
from typing import Any

import keras
import numpy as np

from keraslr import datasets, optimizers, problems
from keraslr._parameters import MAX_TICKS, Number
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.datasets import Dataset
from keraslr.models import INITIALIZATIONS, MODELS
from keraslr.optimizers._of_a_model import follow
from keraslr.problems import Problem
from keraslr.problems._identity import code_digest, model_digest
from keraslr.problems._model import classifier, function_name, require_builder
from keraslr.scaling import linear_scaling
from keraslr.schedules import ChainedScheduler, ConstantLR, LinearLR, PerEpoch, Schedule

_COUNT = Number("", int, at_least=1, at_most=MAX_TICKS)


# Batch sizes of the published comparison of images, and of `fit`.
_IMAGES_BATCH, _USUAL_BATCH = 256, 32
# Fields that only a run of images has.
_IMAGE_FIELDS = ("dataset", "model", "initialization")


@dataclasses.dataclass(frozen=True)
class Run:
    """The description of a training run.

    Attributes:
        name: Name of the run.
        schedule: A schedule, keraslr's or Keras's, or a constant learning rate > 0. Given as a pair
            `(schedule or rate, keraslr.callbacks.ReduceLROnPlateau(...))` the plateau rule scales
            it.
        problem: What is trained: a `keraslr.Problem`, or "auto", "fashion_mnist" or "digits" for
            the LeNet on these images. None for the images and the model of the next three.
        dataset: "auto", "fashion_mnist", "digits" or a `Dataset`.
        model: "lenet", or a function of a seed that builds a Keras model from float images in
            [0, 1] to ten logits, without softmax.
        initialization: First weights of a named model, "pytorch" or "keras".
        optimizer: Name of a class of `keras.optimizers` or, if there is none of that name or it
            lacks an argument such as `momentum_rule`, of `keraslr.optimizers`. None for the one the
            problem's model was compiled with; for images that is "SGD".
        optimizer_arguments: Arguments of the optimizer, except the learning rate.
        epochs: Passes over the training data, >= 1.
        batch_size: Examples per optimizer step, over all replicas, >= 1; the last step of an epoch
            takes the remaining examples. None for 256 with images, and for `fit`'s 32 with a
            problem. Data that come in batches keep their own.
        seed: Seed of the first weights and of the order of the examples, >= 0.
        callbacks: Function of no argument, or of the run, that returns Keras callbacks for one run;
            None for none. They are called as `fit` calls them, except that the batch hooks come
            once for each slice of steps, as with `steps_per_execution`: a callback with the
            attribute `every_batch = True` makes each slice one step.
        plateau: The `ReduceLROnPlateau` of the pair, None without one; each run gets a new one.
    """

    name: str
    schedule: Any
    problem: Problem | str | None = None
    _: dataclasses.KW_ONLY
    dataset: str | Dataset = "auto"
    model: str | Callable[[int], keras.Model] = "lenet"
    initialization: str = "pytorch"
    optimizer: str | None = None
    optimizer_arguments: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 30
    batch_size: Any = None
    seed: int = 0
    callbacks: Callable[..., Any] | None = None
    plateau: ReduceLROnPlateau | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name must be a string that is not blank. Received: {self.name!r}")
        schedule, plateau = schedule_and_plateau(self.schedule, self.plateau)
        object.__setattr__(self, "schedule", schedule)
        object.__setattr__(self, "plateau", plateau)
        self._check_problem()
        optimizer = self.optimizer
        if optimizer is None:
            if self.optimizer_arguments:
                raise ValueError(
                    "optimizer must be given with optimizer_arguments. "
                    f"Received: optimizer=None, optimizer_arguments={self.optimizer_arguments!r}"
                )
        elif _optimizer(optimizer) is None:
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
        if self.batch_size is None:
            usual = _IMAGES_BATCH if self.problem is None else _USUAL_BATCH
            object.__setattr__(self, "batch_size", usual)
        for field in ("epochs", "batch_size"):
            object.__setattr__(self, field, _COUNT.validated(field, getattr(self, field)))
        seed = Number("", int, at_least=0).validated("seed", self.seed)
        object.__setattr__(self, "seed", seed)
        if self.callbacks is not None and not callable(self.callbacks):
            raise TypeError(
                "callbacks must be a function that returns Keras callbacks for one run, such as "
                "lambda: [keras.callbacks.EarlyStopping()], so that no two runs share them. "
                f"Received: callbacks={self.callbacks!r}"
            )

    def _check_problem(self) -> None:
        if isinstance(self.problem, str):
            if self.problem not in problems.NAMES:
                raise ValueError(
                    "problem must be a keraslr.Problem or one of "
                    f"{', '.join(problems.NAMES)}. Received: problem={self.problem!r}"
                )
            object.__setattr__(self, "dataset", self.problem)
            object.__setattr__(self, "problem", None)
        if self.problem is not None:
            if not isinstance(self.problem, Problem):
                raise TypeError(
                    "problem must be a keraslr.Problem, or the name of one. "
                    f"Received: problem of type {type(self.problem).__name__}"
                )
            defaults = {field.name: field.default for field in dataclasses.fields(self)}
            for field in _IMAGE_FIELDS:
                if getattr(self, field) is not defaults[field]:
                    raise ValueError(
                        f"{field} must be left out with a problem, which has its own. "
                        f"Received: {field}={getattr(self, field)!r}"
                    )
            if self.plateau is not None:
                _require_validation(self.problem, self.plateau.monitor)
            return
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
        if self.optimizer is None:
            object.__setattr__(self, "optimizer", "SGD")

    @property
    def data_name(self) -> str:
        """Name of the data."""
        if isinstance(self.problem, Problem):
            return self.problem.name
        return self.dataset if isinstance(self.dataset, str) else self.dataset.name

    def description(self) -> dict[str, Any]:
        """Returns the run as JSON values; the schedule as the expression that rebuilds it."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        plain["schedule"] = described_schedule(self.schedule)
        plain["optimizer_arguments"] = dict(self.optimizer_arguments)
        for field in ("problem", "callbacks", "plateau"):
            del plain[field]
        if self.plateau is not None:
            plain["plateau"] = self.plateau.settings()
        if self.callbacks is not None:
            plain["callbacks"] = function_name(self.callbacks)
        if isinstance(self.problem, Problem):
            for field in _IMAGE_FIELDS:
                del plain[field]
            plain["problem"] = self.problem.name
            plain["model"] = self.problem.model_name
            if self.optimizer is None:
                plain["optimizer"] = "as compiled"
            return plain
        if isinstance(self.dataset, Dataset):
            # With the content: a run on other data is another run.
            plain["dataset"] = f"{self.dataset.name} {_data_digest(self.dataset)}"
        if not isinstance(self.model, str):
            plain["model"] = function_name(self.model)
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
        examples = problem_of(self).examples
        if examples is None:
            raise ValueError(
                "problem must hold its data as arrays: data that come in batches have their own "
                f"batch size. Received: problem={self.problem!r}"
            )
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
        if self.problem is not None or not isinstance(self.model, str):
            # Not in a field, so that equal runs stay equal.
            digests = self.__dict__.setdefault("_digests", {})
            if policy not in digests:
                digests[policy] = self._digest()
            what["model"] = digests[policy]
        if self.callbacks is not None:
            what["callbacks"] = code_digest(self.callbacks)
        if policy != "float32":
            what["dtype_policy"] = policy
        text = json.dumps(what, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def _digest(self) -> Any:
        if isinstance(self.problem, Problem):
            return self.problem.digest(self.seed)
        model: Any = self.model
        return model_digest(functools.partial(classifier, model), self.seed, model)


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


def _require_validation(problem: Problem, monitor: str) -> None:
    if monitor.startswith("val_") and not problem.has_validation:
        raise ValueError(
            "validation_data must be given, or validation_split, for a ReduceLROnPlateau that "
            f"watches {monitor!r}. Received: {problem!r} without validation data"
        )


def require_run(run: Any) -> None:
    """Raises a `TypeError` unless the value is a `Run`."""
    if not isinstance(run, Run):
        raise TypeError(
            "run must be a Run, as keraslr.training.Run(name, schedule, problem) makes it. "
            f"Received: run={run!r}"
        )


def _require_rule_of_a_run(plateau: ReduceLROnPlateau) -> None:
    if plateau.every is not None:
        raise ValueError(
            "the plateau rule of a run decides once an epoch, since a run trains many steps at "
            f"once: leave out every. Received: every={plateau.every!r}"
        )
    for name, value in (("optimizer", plateau.optimizer), ("groups", plateau.groups)):
        each = value if isinstance(value, Collection) and not isinstance(value, str) else [value]
        if any(isinstance(one, keras.optimizers.Optimizer) for one in each):
            raise ValueError(
                f"{name} must hold names in the plateau rule of a run, which trains a copy of the "
                f"model with optimizers of its own. Received: {name}={value!r}"
            )


def schedule_and_plateau(schedule: Any, plateau: Any = None) -> tuple[Any, Any]:
    """Returns the schedule or rate of a run, and its plateau rule, after checking them."""
    if isinstance(schedule, tuple | list):
        if len(schedule) != 2 or plateau is not None:
            raise ValueError(
                "schedule must be a schedule, a rate, or a pair (schedule or rate, "
                f"ReduceLROnPlateau(...)). Received: schedule={schedule!r}"
            )
        schedule, plateau = schedule
    if plateau is not None and not isinstance(plateau, ReduceLROnPlateau):
        raise TypeError(
            f"plateau must be a keraslr.callbacks.ReduceLROnPlateau. Received: plateau={plateau!r}"
        )
    if plateau is not None:
        _require_rule_of_a_run(plateau)
    if isinstance(schedule, ReduceLROnPlateau):
        raise TypeError(
            "schedule must be a pair (schedule or rate, ReduceLROnPlateau(...)) for a plateau "
            f"rule, such as (0.1, rule). Received: schedule={schedule!r}"
        )
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule | int | float) and (
        callable(schedule) or isinstance(schedule, str)
    ):
        raise TypeError(
            "schedule must be a schedule, keraslr's or Keras's, or a rate > 0; a function of the "
            "step becomes one with keraslr.LambdaLR, a text with keraslr.parse. "
            f"Received: schedule={schedule!r}"
        )
    if not isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule):
        schedule = Number("", float, above=0).validated("schedule", schedule)
    return schedule, plateau


def described_schedule(schedule: Any) -> str:
    """Returns the text of a schedule: for keraslr's, the expression that rebuilds it."""
    if isinstance(schedule, keras.optimizers.schedules.LearningRateSchedule) and not isinstance(
        schedule, Schedule
    ):
        return f"{type(schedule).__name__}({schedule.get_config()})"
    return repr(schedule)


def problem_of(run: Run) -> Problem:
    """Returns the problem of the run, with its data loaded.

    Raises:
        DatasetError: The dataset is unavailable or damaged.
    """
    if isinstance(run.problem, Problem):
        return run.problem
    return problems.images(run.dataset, run.model, run.initialization)


def model_of(run: Run, problem: Problem, schedule: Any = None) -> keras.Model:
    """Returns a new compiled model that follows the schedule of the run, or another one."""
    model = problem.model(run.seed)
    give_optimizer(model, run.optimizer, run.optimizer_arguments)
    follow(model, run.schedule if schedule is None else schedule)
    return model


def give_optimizer(model: keras.Model, name: str | None, arguments: Mapping[str, Any]) -> None:
    """Replaces the optimizer of a model that has not been trained by the one of that name.

    Args:
        model: Compiled model.
        name: Name of the optimizer's class; None to leave the model's own.
        arguments: Arguments of the optimizer.
    """
    if name is None:
        return
    # A fixed name, to which Keras adds no number: for each new name of a variable, TensorFlow
    # keeps a kernel, and with it the variable's memory.
    optimizer = _optimizer(name, arguments)(**{"name": name, **arguments})
    if isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, name="loss_scale_optimizer")
    model.optimizer = optimizer


def _data_digest(data: Dataset) -> str:
    digest = hashlib.sha256()
    for part in (data.x_train, data.y_train, data.x_test, data.y_test):
        digest.update(f"{part.dtype}{part.shape}".encode() + np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()[:8]


def _optimizer(name: Any, arguments: Collection[str] = ()) -> Any:
    """Returns the optimizer class of that name, or None; the first that has the arguments."""
    found = [getattr(place, str(name), None) for place in (keras.optimizers, optimizers)]
    kinds = [kind for kind in found if isinstance(kind, type) and issubclass(kind, keras.Optimizer)]
    able = [kind for kind in kinds if set(arguments) <= set(inspect.signature(kind).parameters)]
    return next(iter(able or kinds), None)
