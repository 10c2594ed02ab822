"""What the `fit` that calls a callback was given, which Keras does not tell its callbacks."""

from __future__ import annotations

import sys
import types
from typing import Any

import keras

_DONE = "_keraslr_steps_done"


def arguments_of_fit(model: keras.Model) -> dict[str, Any] | None:
    """Returns the arguments of the `fit` of this model that runs the caller, by their names.

    Keras gives its callbacks only `epochs`, `steps` and `verbose`. The others stand in the frame of
    `fit`, which is further up on the caller's stack. A value may be what `fit` has made of it: with
    `validation_split`, `x` is the part that is trained.

    Args:
        model: The model that is trained.

    Returns:
        The arguments; None outside of a `fit`, or in a thread that `fit` does not run in.
    """
    frame = _frame_of_fit(model)
    if frame is None:
        return None
    code, values = frame.f_code, frame.f_locals
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return {name: values[name] for name in names if name != "self" and name in values}


def epoch_iterator_of_fit(model: keras.Model) -> Any | None:
    """Returns the object from which the `fit` that runs the caller takes each epoch's batches."""
    frame = _frame_of_fit(model)
    return None if frame is None else frame.f_locals.get("epoch_iterator")


def note_steps_done(model: keras.Model, epoch: int, steps: int) -> None:
    """Notes that the present `fit` goes on from a backup, after so many steps of an epoch."""
    # Not as an attribute is set: Keras would track it.
    model.__dict__[_DONE] = (getattr(model, "history", None), epoch, steps)


def steps_done(model: keras.Model, epoch: int) -> int:
    """Returns how many steps of an epoch were trained before the present `fit` goes on with it."""
    fit, noted, steps = getattr(model, "__dict__", {}).get(_DONE, (None, -1, 0))
    return steps if noted == epoch and fit is getattr(model, "history", None) else 0


def is_resumed(model: keras.Model, epoch: int) -> bool:
    """Returns whether the present `fit` goes on at that epoch from a backup of either callback."""
    fit, noted, _ = getattr(model, "__dict__", {}).get(_DONE, (None, -1, 0))
    ours = noted == epoch and fit is getattr(model, "history", None)
    return ours or getattr(model, "_initial_epoch", None) == epoch


def _frame_of_fit(model: keras.Model) -> types.FrameType | None:
    """Returns the innermost: a model's own `fit` usually calls Keras's."""
    frame: types.FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name == "fit" and frame.f_locals.get("self") is model:
            return frame
        frame = frame.f_back
    return None
