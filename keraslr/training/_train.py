"""Training of one run to its end, on one device or several, resumed from a backup."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from keraslr._environment import require_tensorflow, versions
from keraslr.training._result import OnProgress, Result
from keraslr.training._run import Run, problem_of, require_run

if TYPE_CHECKING:
    import tensorflow as tf


def train(
    run: Run,
    *,
    distribution_strategy: tf.distribute.Strategy | None = None,
    backup: str | os.PathLike[str] | None = None,
    on_progress: OnProgress | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Result:
    """Trains the model of a run to the run's end.

    The same run on the same machine gives the same numbers; on a GPU only after
    `tf.config.experimental.enable_op_determinism()`. This function may be called in a background
    thread: Keras then makes all its objects in that thread.

    With a distribution strategy every step covers the whole batch, of which each replica takes its
    part, so that loss, accuracy, rate and update are those of one device, up to rounding. The
    exception is a model with batch statistics or dropout: each replica has its own.

    Args:
        run: Run to train. Its `batch_size` is that of all replicas together; see
            `Run.on_replicas`.
        distribution_strategy: A synchronous `tf.distribute.Strategy`, such as `MirroredStrategy`
            for the GPUs of a machine, or `MultiWorkerMirroredStrategy`, with which all workers
            call this function with the same run. None for one device.
        backup: Folder in which the run is saved after each epoch. After a crash or a stop, another
            call with the same run continues from there, with the same numbers. A finished run is
            not trained again until its file is deleted. Of several workers only the chief writes,
            and all need access to the folder.
        on_progress: Called about five times a second, and after each epoch, with the steps done,
            the total steps, and the current `Result` (do not change it).
        should_stop: Called about as often; the run ends once it returns True.

    Returns:
        The result. A loss that is not finite ends the run as "diverged", Ctrl-C as "interrupted";
        the result then holds all steps done until then.

    Raises:
        RuntimeError: Keras runs on a backend other than TensorFlow.
        TypeError, ValueError: The distribution strategy is not supported, or has more replicas than
            the batch has examples, or the backup is damaged.
        DatasetError: The dataset is unavailable or damaged.
        OSError: The backup cannot be written; the error names the path.
        ClusterError: Another worker is lost. Start all again: they continue from the backup.
    """
    require_run(run)
    for name, function in (("on_progress", on_progress), ("should_stop", should_stop)):
        if function is not None and not callable(function):
            raise TypeError(f"{name} must be a function or None. Received: {name}={function!r}")
    require_tensorflow()
    from keraslr.training import _cluster
    from keraslr.training._backup import Backup
    from keraslr.training._trainer import Trainer

    if distribution_strategy is not None:
        _cluster.require_synchronous(distribution_strategy, run.batch_size)
    problem = problem_of(run)
    named, description = run, run.description()
    if run.problem is None:
        description["dataset"] = problem.name
        if isinstance(run.dataset, str):
            # With the dataset's real name, because the meaning of "auto" may change.
            named = dataclasses.replace(run, dataset=problem.name)
    result, state = Result(description, versions=versions()), None
    kept = None if backup is None else Backup(backup, named)
    if kept is not None and (found := kept.read()) is not None:
        before, state = found
        result = dataclasses.replace(before, versions=result.versions)
    epochs = result.epochs_done
    trainer = Trainer(
        run,
        problem,
        result,
        first_epoch=epochs,
        state=state,
        distribution_strategy=distribution_strategy,
    )

    def keep() -> None:
        if kept is not None and is_chief(distribution_strategy):
            kept.write(result, trainer.state())

    try:
        with _cluster.lost_workers_named(distribution_strategy):
            if _cluster.mean_over_workers(distribution_strategy, epochs) != epochs:
                raise ValueError(
                    "backup must be a folder that all workers share: they found different epochs. "
                    f"Received: backup={os.fspath(backup or '')!r}, {epochs} epochs here"
                )
            trainer.advance(run.epochs - epochs, on_progress, should_stop, keep)
    except KeyboardInterrupt:
        result.status = "interrupted"
    return result


def require_trainable(run: Run) -> tuple[str, ...]:
    """Raises a `ValueError` unless the model of the run can be trained on its first batch.

    Nothing is spent: the training step is traced, and the first batch evaluated.

    Returns:
        The names of the figures that an epoch will have, without the learning rate.
    """
    require_tensorflow()
    from keraslr.training._trainer import Trainer

    # The function of callbacks makes them for one run, and this is none.
    run = dataclasses.replace(run, callbacks=None)
    return Trainer(run, problem_of(run), Result({})).try_out()


def is_chief(distribution_strategy: tf.distribute.Strategy | None) -> bool:
    """Returns whether this process is the worker that writes results.

    True without a distribution strategy, and if all replicas are in one process.
    """
    if distribution_strategy is None:
        return True
    from keraslr.training import _cluster

    return _cluster.is_chief(distribution_strategy)
