"""What `fit` was called with: Keras tells callbacks only the numbers of epochs and steps."""

from __future__ import annotations

import sys
from typing import Any


def arguments_of_fit(model: Any) -> dict[str, Any] | None:
    """Returns the arguments of the `fit` of this model that is running; None where none is.

    They are read from the frame of the call, since Keras keeps them nowhere else. What another
    version of Keras calls otherwise is missing.
    """
    names = ("x", "y", "shuffle", "steps_per_epoch", "validation_data", "validation_split",
             "validation_freq", "initial_epoch", "batch_size", "epochs")  # fmt: skip
    frame = sys._getframe(1)
    while frame is not None:
        here = frame.f_locals
        if (
            frame.f_code.co_name == "fit"
            and here.get("self") is model
            and "validation_freq" in here
        ):
            return {name: here[name] for name in names if name in here}
        frame = frame.f_back  # type: ignore[assignment]
    return None
