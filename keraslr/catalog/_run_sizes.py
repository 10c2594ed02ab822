"""Sizes of a training run: sensible ranges, and the datasets' sizes without loading them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from keraslr.catalog._strategies import Range

TRAINING_RANGES: Mapping[str, Range] = MappingProxyType(
    {
        "epochs": Range(1, 200, 30),
        "batch_size": Range(1, 2**20, 256),
        "dataset_size": Range(1, 10**9, 60_000),
        "seed": Range(0, 2**31 - 1, 0),
        "seeds": Range(1, 10, 2),
    }
)


@dataclasses.dataclass(frozen=True)
class DatasetSize:
    """A dataset's size, and a batch size that suits it.

    Attributes:
        title: Name for a person.
        training_examples: Number of training examples.
        batch_size: Batch size with which an epoch has enough steps, and most networks survive the
            high rates of the published comparison.
    """

    title: str
    training_examples: int
    batch_size: int


# By name, as `keraslr.datasets.load` takes it.
DATASET_SIZES: Mapping[str, DatasetSize] = MappingProxyType(
    {
        "auto": DatasetSize("Fashion-MNIST, or digits if unavailable", 60_000, 256),
        "fashion_mnist": DatasetSize("Fashion-MNIST", 60_000, 256),
        "digits": DatasetSize("scikit-learn's digits (small, quick)", 1_437, 32),
    }
)
