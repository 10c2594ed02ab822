"""What a panel trains: images with a name, or a model and data of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import keras

from keraslr import problems
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.datasets import Dataset
from keraslr.optimizers._of_a_model import known_optimizers_of
from keraslr.problems import Problem
from keraslr.problems._data import Batches
from keraslr.problems._model import compiled_for_classes
from keraslr.training import Run
from keraslr.training._train import require_trainable

# Name of a problem made of a model and data.
_UNNAMED = "own data"
_IMAGES = ("loss", "accuracy", "val_loss", "val_accuracy")
_COMPILED_HERE = (
    "The model was not compiled: it is trained with SGD and sparse categorical cross-entropy from "
    "logits. Compile it to choose others."
)


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """What a panel trains.

    Attributes:
        problem: The problem; None for the images that the panel's control names.
        dataset: Name of the images to begin with.
        figures: Names of an epoch's figures.
        optimizer: Name of the class of optimizer that the model was compiled with.
        rate: Its learning rate; None if that is a schedule.
        note: A sentence about the model; "" for none.
    """

    problem: Problem | None
    dataset: str = "auto"
    figures: tuple[str, ...] = _IMAGES
    optimizer: str = "SGD"
    rate: float | None = None
    note: str = ""
    _counted: dict[str, int] = dataclasses.field(default_factory=dict)

    @property
    def has_own_batches(self) -> bool:
        """Whether the data come in batches, and keep their size."""
        return self.problem is not None and isinstance(self.problem.data().train, Batches)

    @property
    def has_validation(self) -> bool:
        """Whether there are data to validate on."""
        return any(name.startswith("val_") for name in self.figures)

    @property
    def has_loss(self) -> bool:
        """Whether the model reports a loss; one with a `train_step` of its own may not."""
        return "loss" in self.figures

    def steps(self, batch_size: int) -> int | None:
        """Returns the steps of an epoch of one's own problem; None while nobody has counted."""
        if self.problem is None:
            return None
        return self.problem.steps(batch_size) or self._counted.get("steps")

    def counted_steps(self, batch_size: int) -> int:
        """Returns the steps of an epoch; may read all the data once, which takes its time."""
        assert self.problem is not None
        steps = self.steps(batch_size)
        if steps is None:
            steps = self._counted["steps"] = self.problem.counted_steps(batch_size)
        return steps

    def require_monitored(self, plateau: ReduceLROnPlateau | None) -> None:
        """Raises a `ValueError` unless there is the figure that a plateau rule watches."""
        if plateau is None or plateau.monitor in self.figures:
            return
        remedy = "monitor a figure that there is"
        if plateau.monitor.startswith("val_") and not self.has_validation:
            remedy = "pass validation_data or validation_split, or monitor a training figure"
        raise ValueError(
            f"monitor of ReduceLROnPlateau must be one of {', '.join(self.figures)}: {remedy}. "
            f'Received: monitor="{plateau.monitor}"'
        )


def subject_of(
    problem: Any,
    x: Any,
    data: Mapping[str, Any],
    *,
    model: Any = None,
    dataset: Any = None,
    usual: str = "auto",
    compile_here: bool = False,
) -> Subject:
    """Returns what a panel trains, after checking it.

    Args:
        problem: A `Problem`, the name of images, or a model or a function that builds one.
        x: Data, with a model.
        data: The other data, by their name in `Problem`.
        model: A model or a function that builds one, as a keyword.
        dataset: Name of images, or a `Dataset`, as a keyword.
        usual: Name of the images if nothing is given.
        compile_here: Whether a model that is not compiled is compiled as a classifier, where data
            and model say that it is one.

    Raises:
        TypeError, ValueError: An argument is wrong, or the model cannot be trained on the data.
    """
    said = {"problem": problem, "model": model, "dataset": dataset}
    given = [name for name, value in said.items() if value is not None]
    if len(given) > 1:
        raise ValueError(
            f"{given[1]} must be left out with {given[0]}. "
            f"Received: {given[1]} of type {type(said[given[1]]).__name__}"
        )
    what = said[given[0]] if given else usual
    extra = [n for n, v in {"x": x, **data}.items() if v is not None and not _is_zero(v)]
    if isinstance(what, str | Problem | Dataset):
        if extra:
            kind = type({"x": x, **data}[extra[0]]).__name__
            raise ValueError(
                f"{extra[0]} must be left out without a model, since a problem has its own data: "
                f"pass model, x and y, or put it into the problem. Received: {extra[0]} of type "
                f"{kind}, {what!r}"
            )
        if isinstance(what, str):
            if what not in problems.NAMES and given == ["problem"]:
                raise ValueError(
                    "problem must be a keraslr.Problem, a model, or one of "
                    f"{', '.join(problems.NAMES)}. Received: problem={what!r}"
                )
            return Subject(None, what)
        return _tried(problems.images(what) if isinstance(what, Dataset) else what)
    if isinstance(what, keras.layers.Layer) and not isinstance(what, keras.Model):
        what = None
    if what is None or not callable(what):
        kind = type(said[given[0]]).__name__
        raise TypeError(
            "problem must be a keraslr.Problem, the name of one, a compiled keras.Model, or a "
            f"function that builds one. Received: {given[0]} of type {kind}"
        )
    if x is None:
        raise ValueError(
            "x must be given with a model, as fit takes it: model, x, y, or a "
            f"keraslr.Problem(name, model, x, y). Received: model={_named(what)}, x=None"
        )
    note = ""
    if compile_here and _may_be_uncompiled(what):
        compiled = compiled_for_classes(what, data.get("y"))
        if compiled is not None:
            what, note = compiled, _COMPILED_HERE
    return _tried(Problem(_UNNAMED, what, x, **data), note)


def _tried(problem: Problem, note: str = "") -> Subject:
    """Returns the subject of a problem whose model has been tried on the first batch."""
    figures = require_trainable(Run("first", 1.0, problem))
    optimizer = known_optimizers_of(problem.model())[0]
    rate = optimizer._learning_rate
    constant = not callable(rate) and float(keras.ops.convert_to_numpy(rate)) > 0
    return Subject(
        problem,
        figures=figures,
        optimizer=type(optimizer).__name__,
        rate=_short(rate) if constant else None,
        note=note or (problem.note if problem.substitute else ""),
    )


def _may_be_uncompiled(what: Any) -> bool:
    return not isinstance(what, keras.Model) or not what.compiled


def _short(rate: Any) -> float:
    """Returns a float32 as its shortest decimal: 0.1, not 0.10000000149011612."""
    return float(str(keras.ops.convert_to_numpy(rate).astype("float32")))


def _is_zero(value: Any) -> bool:
    return isinstance(value, int | float) and value == 0


def _named(model: Any) -> str:
    return repr(getattr(model, "name", None) or getattr(model, "__name__", model))
