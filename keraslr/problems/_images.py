"""The problems with a name: images of ten classes, classified by the LeNet."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keraslr import datasets
from keraslr.datasets import Dataset
from keraslr.models import MODELS
from keraslr.problems._model import classifier
from keraslr.problems._problem import Problem

# As in keraslr.datasets; "auto" is Fashion-MNIST, or the digits if that is unavailable.
NAMES = datasets.NAMES

# Only the speed depends on it: the figures are means over all examples.
_VALIDATION_BATCH = 1000

# Labels by dataset: the same arrays for all its problems, which then share their device memory.
_LABELS: weakref.WeakKeyDictionary[Dataset, tuple[np.ndarray, np.ndarray]] = (
    weakref.WeakKeyDictionary()
)


def images(
    dataset: str | Dataset = "auto",
    model: str | Callable[[int], keras.Model] = "lenet",
    initialization: str = "pytorch",
) -> Problem:
    """Returns the problem of classifying images of ten classes, or other data of a `Dataset`.

    The pixels of images are kept as bytes, and scaled to floats in [0, 1] when a batch is used.
    Other data are used as they are.

    Args:
        dataset: "auto", "fashion_mnist", "digits" or a `Dataset`.
        model: "lenet", or a function of a seed that builds a Keras model from float images in
            [0, 1] to ten logits, without softmax (of other data, to a logit for each class); it is
            compiled here, unless it is.
        initialization: First weights of a named model, "pytorch" or "keras".

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.
        DatasetError: The dataset is unavailable or damaged.
    """
    data = dataset if isinstance(dataset, Dataset) else datasets.load(dataset)
    if data not in _LABELS:
        # int64, because TensorFlow keeps int32 tensors in the host's memory also on a GPU.
        _LABELS[data] = data.y_train.astype(np.int64), data.y_test.astype(np.int64)
    train, test = _LABELS[data]
    return Problem(
        data.name,
        _Classifier(model, initialization, None if data.is_images else train),
        data.x_train,
        train,
        validation_data=(data.x_test, test),
        validation_batch_size=_VALIDATION_BATCH,
        prepare=pixels if data.is_images else None,
        note=data.note,
        substitute=data.substitute,
    )


def fashion_mnist(
    model: str | Callable[[int], keras.Model] = "lenet", initialization: str = "pytorch"
) -> Problem:
    """Returns Fashion-MNIST: 60,000 images for training and 10,000 for validation.

    Args:
        model: See `images`.
        initialization: See `images`.

    Raises:
        DatasetError: The dataset is unavailable or damaged.
    """
    return images("fashion_mnist", model, initialization)


def digits(
    model: str | Callable[[int], keras.Model] = "lenet", initialization: str = "pytorch"
) -> Problem:
    """Returns scikit-learn's digits: 1,437 images for training and 360 for validation.

    Args:
        model: See `images`.
        initialization: See `images`.
    """
    return images("digits", model, initialization)


def load(name: str) -> Problem:
    """Returns the problem of a name: "auto", "fashion_mnist" or "digits", with the LeNet.

    Raises:
        ValueError: There is no problem of that name.
        DatasetError: The dataset is unavailable or damaged.
    """
    if name not in NAMES:
        raise ValueError(
            f"problem must be a keraslr.Problem or one of {', '.join(NAMES)}. Received: {name!r}"
        )
    return images(name)


class _Classifier:
    """Builds and compiles a model that classifies; can be sent to another process."""

    def __init__(
        self,
        model: str | Callable[[int], keras.Model],
        initialization: str,
        labels: np.ndarray | None,
    ):
        self._model, self._initialization, self._labels = model, initialization, labels

    def __call__(self, seed: int) -> keras.Model:
        build: Callable[..., keras.Model]
        if isinstance(self._model, str):
            build = functools.partial(MODELS[self._model], self._initialization)
        else:
            build = self._model
        return classifier(build, seed, None if isinstance(self._model, str) else self._labels)


def pixels(batch: Any) -> Any:
    """Returns images of bytes as floats in [0, 1], beside their labels."""
    images, labels = batch
    return keras.ops.cast(images, "float32") / 255.0, labels
