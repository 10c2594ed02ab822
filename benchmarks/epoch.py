"""An epoch of the LeNet on Fashion-MNIST, with loss and accuracy of every step recorded.

Each side trains the same network, with the activation after the pooling, with plain SGD and
shuffled batches of 256. Only training: no test data.
"""

from __future__ import annotations

import functools
import gzip
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._measurement import Goal, Pair, Subject
from benchmarks._sides import Side
from benchmarks._timing import Repeat, timed

_BATCH, _RATE = 256, 0.1
_WORKERS = 4
_OURS = "train"
_IN_MEMORY, _LOADER = "PyTorch, data in memory", f"PyTorch's DataLoader, {_WORKERS} workers"


def _images(quick: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns Fashion-MNIST from Keras's cache, as uint8; when quick, noise of the same shape.

    Not through `keraslr.datasets`, so that PyTorch's process does not import TensorFlow.
    """
    if quick:
        rng = np.random.default_rng(0)
        return rng.integers(0, 256, (1000, 28, 28, 1), np.uint8), rng.integers(0, 10, 1000)
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    folder = home / "datasets" / "fashion-mnist"
    with gzip.open(folder / "train-images-idx3-ubyte.gz") as images:
        x = np.frombuffer(images.read(), np.uint8, offset=16).reshape(-1, 28, 28, 1)
    with gzip.open(folder / "train-labels-idx1-ubyte.gz") as labels:
        y = np.frombuffer(labels.read(), np.uint8, offset=8)
    return x, y


def _ours(quick: bool) -> Repeat:
    from keraslr import Problem
    from keraslr.problems import digits
    from keraslr.training import Result, Run
    from keraslr.training._trainer import Trainer

    x, y = _images(quick)
    named = digits()
    # As the LeNet on Fashion-MNIST is a problem, but not validated: the other sides are not.
    problem = Problem("epoch", named.build, x, y.astype(np.int64), prepare=named.prepare)
    trainer = Trainer(Run("benchmark", _RATE, problem, batch_size=_BATCH), problem, Result({}))
    return timed(lambda: trainer.advance(1))


def _fit(quick: bool) -> Repeat:
    import keras

    from keraslr.models import lenet

    class EveryStep(keras.callbacks.Callback):
        """Records the figures of `fit` after each batch: the means of the epoch so far."""

        record: list[tuple[float, float]] = []

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.record.append((float(logs["loss"]), float(logs["accuracy"])))

    x, y = _images(quick)
    pixels = x / np.float32(255)
    model = lenet(seed=0)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(_RATE), loss, metrics=["accuracy"])
    arguments = {"batch_size": _BATCH, "verbose": 0, "callbacks": [EveryStep()]}
    return timed(lambda: model.fit(pixels, y, **arguments))


def _torch(loader: bool, quick: bool) -> Repeat:
    import torch
    from torch import nn

    x, y = _images(quick)
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU(),
        nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU(), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    cross_entropy, optimizer = nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), _RATE)
    record = []

    def step(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        logits = model(images)
        loss = cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        accuracy = (logits.argmax(1) == labels).float().mean()
        record.append((loss.item(), accuracy.item()))

    if loader:
        # PyTorch warns on a machine with fewer cores than the four workers.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        batches = torch.utils.data.DataLoader(
            _Items(x, y), _BATCH, shuffle=True, num_workers=_WORKERS
        )

        def work() -> None:
            for images, labels in batches:
                step(images, labels)

    else:
        all_images = torch.tensor(x.reshape(-1, 1, 28, 28) / np.float32(255))
        all_labels = torch.tensor(y.astype(np.int64))

        def work() -> None:
            for chosen in torch.randperm(len(all_images)).split(_BATCH):
                step(all_images[chosen], all_labels[chosen])

    return timed(work)


class _Items:
    """A dataset as in tutorials: each image becomes a tensor when it is requested."""

    def __init__(self, images: np.ndarray, labels: np.ndarray) -> None:
        self._images, self._labels = images, labels

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        import torch

        image = torch.tensor(self._images[index, :, :, 0])[None]
        return image.to(torch.float32) / 255, int(self._labels[index])


def _sides() -> Sequence[Side]:
    return [
        Side(_OURS, _ours),
        Side("fit on arrays", _fit),
        Side(_IN_MEMORY, functools.partial(_torch, False), needs="torch"),
        Side(_LOADER, functools.partial(_torch, True), needs="torch"),
    ]


def _pairs() -> Sequence[Pair]:
    what = "LeNet epoch on Fashion-MNIST"
    return [
        Pair(what, _OURS, "fit on arrays"),
        Pair(what, _OURS, _IN_MEMORY, Goal(ratio=0.75)),
        Pair(what, _OURS, _LOADER),
    ]


SUBJECT = Subject(_sides, _pairs, rounds=7)
