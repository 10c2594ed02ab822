"""A model and its data."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from keraslr._parameters import MAX_TICKS, Number
from keraslr.problems._copy import require_same_outputs
from keraslr.problems._data import Arrays, Batches, Data, data_of
from keraslr.problems._identity import code_digest, model_digest
from keraslr.problems._model import (
    SentModel,
    compiled_model,
    counted_names,
    function_name,
    require_model,
)

# Name of a problem made from `model=` and `x=`.
UNNAMED = "data"
_COUNT = Number("", int, at_least=1, at_most=MAX_TICKS)
_SHARE = Number("", float, at_least=0, below=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """A compiled Keras model and the data to train it on.

    The model trains as it was compiled: loss, loss weights, metrics, optimizer, `jit_compile`,
    mixed precision, its own `train_step`. Only the learning rate is replaced, by the schedule of
    the run.

    Attributes:
        name: Name of the problem, for titles and stored results.
        build: Function of no argument, or of a seed, that returns a new compiled model. Python's,
            NumPy's and Keras's random numbers are seeded with the run's seed around it, so that the
            first weights depend on the seed alone. Or a compiled model, which is left as it is: a
            run with seed 0 trains a copy with the same weights, a run with another seed one with
            new trainable weights; frozen weights and adapted statistics stay.
        x: Data as `fit` takes them: an array, or a list or dict of arrays, each of shape
            (examples, ...); or data that come in batches `(x, y)` or `(x, y, sample_weight)`: a
            `tf.data.Dataset`, a `keras.utils.PyDataset`, a generator (with `steps_per_epoch`, for a
            single run), or another iterable of batches. Or a function of no argument that returns
            `x`, `(x, y)` or `(x, y, sample_weight)`: several processes and several runs of a
            generator need it. Arrays are shuffled, and so are the batches of a `PyDataset`, by
            seed and epoch; other data come in their own order. Arrays up to 1 GiB are kept on the
            device.
        y: Targets: an array, or a list or dict of arrays; None if x has them.
        sample_weight: Weights of the examples; None for equal weights.
        validation_data: `(x, y)` or `(x, y, sample_weight)`, or data that come in batches, or a
            function that returns them; None for no validation.
        validation_split: Share of the examples, the last ones, to validate on instead; >= 0, < 1.
        steps_per_epoch: Batches of an epoch, for data that come in batches and never end.
        validation_steps: The same for `validation_data`.
        validation_batch_size: Examples per validation batch; None for the run's batch size.
        prepare: Function of a batch as it comes from the data that returns the batch to train on,
            in TensorFlow's graph: scales bytes to floats, for example.
        note: A sentence that describes the data.
        substitute: Whether the data replace others that are unavailable.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> import keras, keraslr, numpy as np
        >>> def build():
        ...     model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        ...     model.compile("adam", "mse")
        ...     return model
        >>> x = np.random.default_rng(0).normal(size=(64, 3))
        >>> problem = keraslr.Problem("sum", build, x, x.sum(1), validation_split=0.25)
        >>> problem.examples
        48
    """

    name: str
    build: Callable[..., keras.Model] | keras.Model
    x: Any
    y: Any = None
    _: dataclasses.KW_ONLY
    sample_weight: Any = None
    validation_data: Any = None
    validation_split: float = 0.0
    steps_per_epoch: int | None = None
    validation_steps: int | None = None
    validation_batch_size: int | None = None
    prepare: Callable[[Any], Any] | None = None
    note: str = ""
    substitute: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise ValueError(f"name must be a string that is not blank. Received: {self.name!r}")
        require_model(self.build)
        # Keras names the layers of each run alike.
        self.__dict__["_names"] = counted_names()
        share = _SHARE.validated("validation_split", self.validation_split)
        object.__setattr__(self, "validation_split", share)
        for field in ("steps_per_epoch", "validation_steps", "validation_batch_size"):
            if getattr(self, field) is not None:
                count = _COUNT.validated(field, getattr(self, field))
                object.__setattr__(self, field, count)
        if self.prepare is not None and not callable(self.prepare):
            raise TypeError(
                "prepare must be a function of a batch, or None. "
                f"Received: prepare={self.prepare!r}"
            )
        if self.x is None:
            raise ValueError("x must hold the data to train on. Received: x=None")
        if _is_function(self.x):
            for field in ("y", "sample_weight"):
                if getattr(self, field) is not None:
                    raise ValueError(
                        f"{field} must be left out if x is a function: it returns (x, y). "
                        f"Received: {field} of type {type(getattr(self, field)).__name__}"
                    )
        else:
            self.data()

    def __repr__(self) -> str:
        return f"Problem({self.name!r})"

    def model(self, seed: int = 0) -> keras.Model:
        """Returns a new compiled model with the first weights of a seed.

        Raises:
            TypeError, ValueError: The model is not compiled, or cannot be copied.
        """
        names = self.__dict__.setdefault("_names", counted_names())
        return compiled_model(self.build, seed, names)

    @property
    def model_name(self) -> str:
        """Name of the model, or of the function that builds it."""
        if isinstance(self.build, keras.Model):
            return str(self.build.name)
        return function_name(self.build)

    def digest(self, seed: int = 0) -> list[Any]:
        """Returns what distinguishes the problem from others, as JSON values.

        Its model, with config, compile settings, first weights and code that is not Keras's; and
        its data: arrays by their content, data that come in batches by their form and first batch.

        Raises:
            ValueError: The function builds a different model each time, or the data come in batches
                whose first one differs each time, so that nothing but a name tells them apart.
        """
        data = self.data()
        parts = [data.train] if data.validation is None else [data.train, data.validation]
        digests = [part.digest for part in parts]
        if None in digests and self.is_unnamed:
            raise ValueError(
                "problem must have a name to store its results: its data come in batches that "
                "differ each time, so that results of other data could be taken for its own. Use "
                "keraslr.Problem(name, model, x, ...), with a new name for new data. "
                f"Received: x of type {type(self.x).__name__}"
            )
        settings = [self.steps_per_epoch, self.validation_steps]
        prepare = None if self.prepare is None else code_digest(self.prepare)
        return [model_digest(self.model, seed, self.build), digests, settings, prepare]

    @property
    def is_unnamed(self) -> bool:
        """Whether the problem was made from a model and data without a name."""
        return self.name == UNNAMED

    def data(self) -> Data:
        """Returns the data, sorted and checked; from the function of `x` if it is one."""
        known: Data | None = self.__dict__.get("_data")
        if known is not None:
            return known
        x, y, sample_weight = self.x, self.y, self.sample_weight
        if _is_function(x):
            x = x()
            if isinstance(x, tuple) and 1 < len(x) <= 3:
                x, y, sample_weight = (*x, None)[:3]
        validation = self.validation_data
        if _is_function(validation):
            validation = validation()
        data = data_of(
            x, y, sample_weight, validation, self.validation_split,
            self.steps_per_epoch, self.validation_steps,
        )  # fmt: skip
        # A function gives each run a generator of its own.
        single = any(
            isinstance(part, Batches) and not part.can_restart
            for part in (data.train, data.validation)
        )
        if not (single and _is_function(self.x)):
            self.__dict__["_data"] = data
        return data

    def require_faithful_copy(self, batch_size: int) -> None:
        """Raises a `ValueError` if a copy of the model gives other outputs for the first batch.

        Does nothing the second time, for a function that builds the model, and where reading a
        batch would spend it.
        """
        if not isinstance(self.build, keras.Model) or self.__dict__.get("_is_faithful"):
            return
        batch = self.data().train.first(batch_size)
        if batch is not None:
            if self.prepare is not None:
                batch = self.prepare(batch)
            x, *_ = keras.utils.unpack_x_y_sample_weight(batch)
            require_same_outputs(self.build, self.model(0), x)
        self.__dict__["_is_faithful"] = True

    @property
    def examples(self) -> int | None:
        """Number of training examples; None if the data come in batches."""
        train = self.data().train
        return train.examples if isinstance(train, Arrays) else None

    @property
    def can_restart(self) -> bool:
        """Whether several runs can read the data, each from the start."""
        if _is_function(self.x):
            return True
        data = self.data()
        parts = (data.train, data.validation)
        return all(part.can_restart for part in parts if isinstance(part, Batches))

    @property
    def has_validation(self) -> bool:
        """Whether there are data to validate on."""
        return self.validation_data is not None or self.validation_split > 0

    def steps(self, batch_size: int) -> int | None:
        """Returns the optimizer steps of an epoch; None if nobody knows before one is over."""
        train = self.data().train
        return train.count if isinstance(train, Batches) else -(-train.examples // batch_size)

    def counted_steps(self, batch_size: int) -> int:
        """Returns the optimizer steps of an epoch, reading all the data once if need be."""
        steps = self.steps(batch_size)
        if steps is None:
            train = self.data().train
            assert isinstance(train, Batches)
            steps = sum(1 for _ in train.source)
        return steps

    def __getstate__(self) -> dict[str, Any]:
        # What is found out of the data is found out again where it is used.
        kept = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if isinstance(self.build, keras.Model):
            kept["build"] = SentModel(self.build)
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        self.__dict__["_names"] = counted_names()


def _is_function(value: Any) -> bool:
    """Returns whether this is a function without arguments, and no data."""
    if not callable(value) or isinstance(value, type) or hasattr(value, "shape"):
        return False
    return inspect.isroutine(value) or isinstance(value, functools.partial)
