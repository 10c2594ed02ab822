"""Where a live run begins, and what describes it."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import keras
import numpy as np

from keraslr.problems import Problem


@dataclasses.dataclass(frozen=True, eq=False)
class Origin:
    """The start of a run: first weights, or a step of another run."""

    parent: str | None = None
    step: int = 0
    epochs_begun: int = 0
    problem: Problem | None = None
    state: list[np.ndarray] | None = None


def is_description(run: Any) -> bool:
    """Returns whether this can be called without arguments, and is no class and no model."""
    if not callable(run) or isinstance(run, type | keras.layers.Layer):
        return False
    try:
        inspect.signature(run).bind()
    except TypeError:
        return False
    except ValueError:
        pass  # a builtin without a signature
    return True
