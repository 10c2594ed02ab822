"""The settings of a run, as they were when it was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keraslr import datasets
from keraslr.schedules import Schedule
from keraslr.training import Run


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a training panel's controls say, except the schedule.

    Attributes:
        dataset: Name of the dataset.
        optimizer: Name of the optimizer's class.
        optimizer_arguments: Its arguments other than the learning rate.
        epochs: Passes over the dataset.
        batch_size: Examples per optimizer step.
        seed: Seed of the initial weights and of the order of the examples.
    """

    dataset: str
    optimizer: str
    optimizer_arguments: Mapping[str, Any]
    epochs: int
    batch_size: int
    seed: int

    def run(self, name: str, schedule: Schedule, *, smooth: bool) -> Run:
        """Returns the run with these settings; loads the dataset, which may take long.

        Args:
            name: Name of the run.
            schedule: Schedule, counted in epochs.
            smooth: Whether the rate changes at every step.
        """
        data = datasets.load(self.dataset)
        steps_per_epoch = -(-len(data.x_train) // self.batch_size)
        return Run(
            name=name,
            schedule=schedule.per_epoch(steps_per_epoch, smooth=smooth),
            dataset=data,
            optimizer=self.optimizer,
            optimizer_arguments=self.optimizer_arguments,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
        )
