"""The settings of a training run: controls with the catalog's ranges."""

from __future__ import annotations

import ipywidgets

from keraslr._parameters import MAX_TICKS, Number
from keraslr.catalog._run_sizes import DATASET_SIZES, TRAINING_RANGES
from widgets.parts._controls import shared

_LABELS = {"batch_size": "batch size", "dataset_size": "training examples"}
# Sizes that are typed in rather than dragged.
_TYPED = "batch_size", "dataset_size", "seed"


def dataset_control(name: str) -> ipywidgets.Dropdown:
    """Makes the choice of a dataset.

    Args:
        name: Name of the dataset to begin with.

    Raises:
        ValueError: There is no such dataset.
    """
    if name not in DATASET_SIZES:
        known = ", ".join(f'"{each}"' for each in DATASET_SIZES)
        raise ValueError(f"dataset must be one of {known}. Received: dataset={name!r}")
    options = [(each.title, key) for key, each in DATASET_SIZES.items()]
    return ipywidgets.Dropdown(options=options, value=name, **shared("dataset"))


def size_control(name: str, value: int | None = None, tooltip: str = "") -> ipywidgets.Widget:
    """Makes a control for a size of the run.

    Args:
        name: Name of the size in the catalog's `TRAINING_RANGES`.
        value: Value to begin with; the range is widened where it lies above. None for the
            catalog's.
        tooltip: Explanation for a person.

    Raises:
        TypeError, ValueError: The value is no integer, or too small.
    """
    valid = TRAINING_RANGES[name]
    rule = Number("", int, at_least=int(valid.low), at_most=max(MAX_TICKS, int(valid.high)))
    value = rule.validated(name, valid.default if value is None else value)
    kind = ipywidgets.BoundedIntText if name in _TYPED else ipywidgets.IntSlider
    high = max(int(valid.high), value)
    return kind(
        value=value, min=int(valid.low), max=high, **shared(_LABELS.get(name, name), tooltip)
    )
