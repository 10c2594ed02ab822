"""The settings of a run, as they were when it was asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keraslr import datasets
from keraslr.callbacks import ReduceLROnPlateau
from keraslr.catalog._run_sizes import DATASET_SIZES
from keraslr.schedules import Schedule
from keraslr.training import Run
from widgets.parts._subject import Subject


@dataclasses.dataclass(frozen=True)
class Plan:
    """The schedule of a run to come.

    Attributes:
        schedule: Schedule or constant rate.
        plateau: Plateau rule that scales it; None for none.
        label: Words for the table.
        name: Name of a run under it.
        in_epochs: Whether the schedule counts in epochs, and not in steps.
        smooth: Whether a schedule in epochs changes at every step.
    """

    schedule: Any
    plateau: ReduceLROnPlateau | None
    label: str
    name: str
    in_epochs: bool = True
    smooth: bool = False

    def in_steps(self, steps_per_epoch: int) -> Any:
        """Returns the schedule or rate counted in optimizer steps, without the plateau rule."""
        if self.in_epochs and isinstance(self.schedule, Schedule):
            return self.schedule.per_epoch(steps_per_epoch, smooth=self.smooth)
        return self.schedule

    def of_a_run(self, steps_per_epoch: int) -> Any:
        """Returns what `Run` takes as its schedule."""
        schedule = self.in_steps(steps_per_epoch)
        return schedule if self.plateau is None else (schedule, self.plateau)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """What a training panel's controls say, except the schedule.

    Attributes:
        subject: What is trained.
        dataset: Name of the dataset; without meaning for one's own problem.
        optimizer: Name of the optimizer's class; None for the one that the model has.
        optimizer_arguments: Its arguments other than the learning rate.
        epochs: Passes over the dataset.
        batch_size: Examples per optimizer step.
        seed: Seed of the initial weights and of the order of the examples.
    """

    subject: Subject
    dataset: str
    optimizer: str | None
    optimizer_arguments: Mapping[str, Any]
    epochs: int
    batch_size: int
    seed: int

    @property
    def steps_per_epoch(self) -> int | None:
        """Steps of an epoch of one's own problem; None while nobody has counted them."""
        return self.subject.steps(self.batch_size)

    @property
    def usual_steps_per_epoch(self) -> int | None:
        """The same, for images from the usual size of the dataset."""
        if self.subject.problem is not None:
            return self.steps_per_epoch
        return -(-DATASET_SIZES[self.dataset].training_examples // self.batch_size)

    def run(self, name: str, plan: Plan) -> Run:
        """Returns the run with these settings; loads or counts the data, which may take long."""
        what: dict[str, Any] = {"problem": self.subject.problem}
        if self.subject.problem is None:
            what = {"dataset": datasets.load(self.dataset)}
            steps_per_epoch = -(-len(what["dataset"].x_train) // self.batch_size)
        else:
            steps_per_epoch = self.subject.counted_steps(self.batch_size)
        return Run(
            name=name,
            schedule=plan.of_a_run(steps_per_epoch),
            **what,
            optimizer=self.optimizer,
            optimizer_arguments=self.optimizer_arguments,
            epochs=self.epochs,
            batch_size=self.batch_size,
            seed=self.seed,
        )
