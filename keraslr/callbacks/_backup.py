"""Backups of a run that is trained by `fit`, from which it resumes after it was killed."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keraslr._parameters import Flag, Number
from keraslr.callbacks import _backup_data as data_of
from keraslr.callbacks._attached import read
from keraslr.callbacks._backup_files import STATE, WEIGHTS, Backup, Backups
from keraslr.callbacks._fit import epoch_iterator_of_fit, note_steps_done


class BackupWarning(UserWarning):
    """A backup is damaged, or a run cannot resume exactly; the message names cause and remedy."""


class BackupAndRestore(keras.callbacks.BackupAndRestore):
    """Backs up a run while `fit` trains it; the same `fit`, started again, resumes from there.

    A backup holds the weights, the state of every optimizer of the model, the random state, and the
    place in the run: epoch and step. It is written whole or not at all: a kill at any moment leaves
    the one before. The newest that is whole is restored. For each newer one, a `BackupWarning` says
    what is wrong with it. A printed line says where the run resumes.

    With a number for `save_freq` there are backups within an epoch, and the run resumes with the
    next step of that epoch. The batches before it are drawn again and not trained, so that loading
    them takes time; the metrics go on, so that the epoch's means are those of all its steps. This
    needs the order of the interrupted epoch:

    - It is known for arrays and a `PyDataset`, with `shuffle=False`.
    - It is known with `shuffle=True`, since the random state is in the backup. With TensorFlow the
      seed has to be set: `keras.utils.set_random_seed(seed)` at the start of the script.
    - It is known for a `tf.data.Dataset` that does not shuffle, that has a seed and
      `reshuffle_each_iteration=False`, or that has a seed and one stream for all epochs
      (`.repeat()` and `steps_per_epoch`). What its functions draw at random is not known.
    - It is known for a PyTorch `DataLoader` with a `SequentialSampler` or `RandomSampler`.
    - Else a `BackupWarning` says why not. The run resumes with the same number of steps done, so
      that schedules stay right; some examples of that epoch are then trained twice, some not.

    A resumed run ends like one that was not interrupted, to the bit, if the data are the same and
    the steps are deterministic. What other callbacks have in memory is not in a backup, unless they
    keep it with the optimizer, as those of keraslr do.

    Differs from Keras: Keras's callback writes over its only file, and a kill meanwhile loses the
    run; a kill between its two files, or within an epoch, makes it train steps twice. It does not
    store the state of dropout. Here, `double_checkpoint` is True by default; `backup_dir` is a
    folder of this machine's file systems; `save_freq=False` is refused; and at the end only the
    backups are removed from the folder, and the folder if it is then empty.

    Args:
        backup_dir: Folder of the backups, of this run alone; it is made if there is none. Backups
            of Keras's own callback in it are read, too.
        save_freq: "epoch" for a backup after each epoch, or the number of batches after which there
            is one, an integer >= 1.
        double_checkpoint: Whether the backup before the newest is kept. If not, there is nothing to
            go back to where a disk has damaged the newest.
        delete_checkpoint: Whether the backups are removed when `fit` is through.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it. In `fit`: the model is not
            built, or the backup is of another model or optimizer.
        OSError: A backup cannot be written; those before are still whole.

    Example:
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", "mse")
        >>> backup = BackupAndRestore("backup", save_freq=100)
        >>> history = model.fit(np.ones((8, 3)), np.ones((8, 1)), verbose=0, callbacks=[backup])
    """

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = True,
        delete_checkpoint: bool = True,
    ) -> None:
        if not isinstance(backup_dir, str | os.PathLike):
            raise TypeError(
                "backup_dir must be the path of a folder. "
                f"Received: backup_dir={backup_dir!r} ({type(backup_dir).__name__})"
            )
        folder = os.fspath(backup_dir)
        if not folder or "://" in folder:
            raise ValueError(
                "backup_dir must be the path of a folder on this machine, for example a mounted "
                f"one. Received: backup_dir={folder!r}"
            )
        if isinstance(save_freq, str):
            if save_freq != "epoch":
                raise ValueError(
                    f'save_freq must be "epoch" or an integer >= 1. Received: {save_freq=}'
                )
        else:
            save_freq = Number("", int, at_least=1).validated("save_freq", save_freq)
        super().__init__(folder, save_freq)
        # Not by Keras's constructor: that of 3.6 does not know the first of them.
        self.double_checkpoint = Flag("").validated("double_checkpoint", double_checkpoint)
        self.delete_checkpoint = Flag("").validated("delete_checkpoint", delete_checkpoint)
        self._backups = Backups(folder, kept=2 if self.double_checkpoint else 1)
        self._data: Any = None
        self._resumed: tuple[int, dict[str, np.ndarray]] | None = None
        if save_freq == "epoch":
            # Keras runs faster if no callback asks for every batch.
            default = keras.callbacks.Callback().on_train_batch_end
            self.on_train_batch_end = default  # type: ignore[method-assign]

    def __getstate__(self) -> dict[str, Any]:
        # A copy belongs to no fit: the data of one that was interrupted cannot be copied.
        return {**self.__dict__, "_model": None, "_data": None, "_resumed": None}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the newest backup that is whole, if there is one."""
        self._data = epoch_iterator_of_fit(self.model)
        self._resumed, self._unsaved = None, 0
        if not self.model.built:
            raise ValueError(
                "BackupAndRestore needs a model that is built before fit, for example by "
                f"keras.Input or by a call on a batch. Received: model={self.model!r}"
            )
        if self.save_freq != "epoch" and not data_of.can_go_to_a_step(self._data):
            raise ValueError(
                'save_freq must be "epoch" for a model with a fit of its own, and with Keras 3.6: '
                "a run cannot resume within an epoch there. Received: "
                f"save_freq={self.save_freq}, Keras {keras.__version__}"
            )
        self._backups.tidy()
        backup, rejected = self._backups.newest()
        for text in rejected:
            self._warn(f"{text}. Training " + (
                f"resumes from {backup.path}, at {backup.place}."
                if backup
                else "begins anew, since there is no backup that is whole."
            ))  # fmt: skip
        if backup is not None:
            self._restore(backup)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        # It was for this fit alone; Keras's callback leaves it for the next one, too.
        self.model._initial_epoch = None
        self._current_epoch, self._done = epoch, 0
        self._random_at_begin = data_of.random_state()
        if self._resumed is not None:
            self._done, self._random_at_begin = self._resumed
            self._resumed = None

    def on_train_batch_begin(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the backup that is due after the step before."""
        # Only here have all callbacks ended that step. After an epoch's last one it is the epoch's
        # end that saves, so that no backup stands between the last step and what follows it.
        if self.save_freq != "epoch" and self._unsaved >= self.save_freq:
            self._save(self._current_epoch, batch)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """See `keras.callbacks.Callback`."""
        self._unsaved += batch + 1 - self._done
        self._done = batch + 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a backup, if one is due."""
        if self.save_freq == "epoch" or self._unsaved >= self.save_freq:
            self._save(epoch + 1, 0)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Removes the backups, unless they are to be kept."""
        self.model._initial_epoch = None
        self._data = None
        if self.delete_checkpoint:
            self._backups.remove_all()

    # Writing.

    def _save(self, epoch: int, step: int) -> None:
        model = self.model  # under JAX that restores the variables from the state of the steps
        self._unsaved = 0
        state = {f"metric/{i}": read(each) for i, each in enumerate(model.metrics_variables)}
        state |= {f"seed/{i}": read(each) for i, each in enumerate(_seeds(model))}
        state |= {f"random/{name}": each for name, each in data_of.random_state().items()}
        if step:
            at_begin = self._random_at_begin.items()
            state |= {f"random_at_begin/{name}": each for name, each in at_begin}
        facts = {
            "epoch": epoch,
            "step": step,
            "before": self._before(step),
            "order": None if self._data is None else data_of.order(self._data),
            "iterations": _iterations(model),
            "optimizers": list(_trained_by(model)),
            "keras": keras.__version__,
            "backend": keras.backend.backend(),
        }

        def fill(folder: Path) -> dict[str, Any]:
            model.save_weights(folder / WEIGHTS)
            with (folder / STATE).open("wb") as file:
                arrays: dict[str, Any] = {name: _storable(each) for name, each in state.items()}
                np.savez(file, **arrays)
            return facts

        self._backups.write(fill)

    def _before(self, step: int) -> int:
        """Returns how many batches earlier epochs have drawn from the stream of this one."""
        data = self._data
        if not data_of.can_go_to_a_step(data) or not data_of.in_one_stream(data):
            return 0
        if data._current_iterator is None:
            return 0
        # Within an epoch, the execution that is about to begin is counted already.
        ahead = data.steps_per_execution if step else 0
        return data._steps_seen - ahead - step

    # Restoring.

    def _restore(self, backup: Backup) -> None:
        model, facts = self.model, backup.facts
        self._build_optimizers(backup)
        self._load_weights(backup)
        state: dict[str, np.ndarray] = {}
        if backup.of_keras:
            facts = self._of_matching_weights(backup)
        else:
            with np.load(backup.path / STATE, allow_pickle=False) as kept:
                state = {name: kept[name] for name in kept.files}
            seeds, kept_seeds = _seeds(model), _part(state, "seed")
            if len(seeds) != len(kept_seeds):
                raise self._of_another("model, with another number of random layers", backup)
            for variable, value in zip(seeds, kept_seeds.values(), strict=True):
                variable.assign(value)
            data_of.restore_random_state(_part(state, "random"))
        epoch, step = facts["epoch"], facts["step"]
        model._initial_epoch = epoch
        note_steps_done(model, epoch, step)
        if step or facts.get("before"):
            self._go_to_step(backup, facts, state)
        iterations = _iterations(model)
        done = "" if iterations is None else f"; the optimizer has done {iterations} steps"
        print(f"Resuming from {backup.path}: epoch {epoch + 1}, step {step + 1}{done}.")

    def _build_optimizers(self, backup: Backup) -> None:
        model = self.model
        if backup.of_keras:
            trained: list[list[int] | None] = [None] * len(list(_optimizers(model)))
        else:
            trained = backup.facts["optimizers"]
        own = list(_optimizers(model))
        if len(own) != len(trained):
            raise self._of_another(
                f"model, with {len(trained)} optimizers where this one has {len(own)}", backup
            )
        weights = model.weights
        for optimizer, places in zip(own, trained, strict=True):
            if optimizer.built:
                continue
            if places is not None:
                # Those of a model's own train_step are built by their first step, which is too late
                # for what they have saved.
                optimizer.build([weights[place] for place in places])
            elif backup.of_keras and optimizer is model.optimizer:
                optimizer.build(model.trainable_variables)

    def _load_weights(self, backup: Backup) -> None:
        with warnings.catch_warnings(record=True) as caught, backup.weights() as path:
            warnings.simplefilter("always")
            try:
                self.model.load_weights(path)
            except ValueError as error:
                raise self._of_another(f"model ({error})", backup) from error
        for each in caught:
            # Keras's loading goes on without the optimizer's state then, at rates of a new run.
            if "Skipping variable loading for optimizer" in str(each.message):
                raise self._of_another(f"optimizer ({each.message})", backup)
            warnings.warn_explicit(each.message, each.category, each.filename, each.lineno)

    def _of_another(self, what: str, backup: Backup) -> ValueError:
        return ValueError(
            "the backup must be of the model and optimizer that fit trains. Received: "
            f"{backup.path} of another {what}. Build and compile the model as before, or delete "
            "the backup to begin anew"
        )

    def _of_matching_weights(self, backup: Backup) -> dict[str, Any]:
        """Returns the facts of Keras's metadata, or of its weights if a kill has parted the two."""
        facts, steps = backup.facts, (self.params or {}).get("steps")
        iterations = _iterations(self.model)
        if not steps or facts["step"] or iterations != (facts["epoch"] + 1) * steps:
            return facts
        self._warn(
            f"{backup.path} has weights of {iterations} steps, one epoch more than its metadata "
            f"says ({facts['epoch']} epochs of {steps} steps): it was killed between the two. "
            f"Training resumes at epoch {facts['epoch'] + 2}."
        )
        return {**facts, "epoch": facts["epoch"] + 1}

    def _go_to_step(
        self, backup: Backup, facts: dict[str, Any], state: dict[str, np.ndarray]
    ) -> None:
        """Has the first epoch begin with the step of the backup."""
        data, step = self._data, facts["step"]
        epoch, before = facts["epoch"], facts.get("before", 0)
        if not data_of.can_go_to_a_step(data):
            if not step:
                return
            raise ValueError(
                "a backup within an epoch must be resumed by Keras's own fit, after Keras 3.6. "
                f"Received: {backup.path}, of {backup.place}. Delete it to begin anew"
            )
        size = data.steps_per_execution
        if step % size:
            raise ValueError(
                f"steps_per_execution must divide the steps that are done of the epoch, {step}. "
                f"Received: steps_per_execution={size}. Compile the model as before"
            )
        why = None
        if facts.get("order"):
            why = data_of.why_unknown(facts["order"], data_of.order(data), epoch)
        elif backup.of_keras:
            why = "a backup of Keras's own callback does not store it"
        if why is not None:
            before = 0  # nothing is gained by drawing what is in another order
            if not step:
                return
            self._warn(
                f"{backup.path} is of epoch {epoch + 1}, step {step + 1}, and the order of that "
                f"epoch's data is not known: {why}. Training resumes with {step} steps of the "
                "epoch done, so that the schedule is right, but some examples are trained twice in "
                'this epoch and some not. Use shuffle=False, a seed, or save_freq="epoch".'
            )
        at_begin = _part(state, "random_at_begin")
        if step:
            self._resumed = (step, at_begin or data_of.random_state())

        def begin() -> None:
            if at_begin:
                data_of.restore_random_state(at_begin)

        def resume(batch: Any) -> None:
            if step and state:
                self._restore_metrics(batch, list(_part(state, "metric").values()))
            if state:
                data_of.restore_random_state(_part(state, "random"))

        data_of.go_to(self.model, data, before, step, begin, resume)

    def _restore_metrics(self, batch: Any, values: list[np.ndarray]) -> None:
        model = self.model
        if len(model.metrics_variables) < len(values):
            # TensorFlow makes them in the first step, which would add to zero.
            model._symbolic_build(data_batch=batch)
        variables = model.metrics_variables
        if [tuple(each.shape) for each in variables] != [each.shape for each in values]:
            self._warn(
                "the metrics are others than those of the backup: the means of this epoch are of "
                "the steps after it. Compile the model with the same metrics."
            )
            return
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def _warn(self, text: str) -> None:
        warnings.warn(text, BackupWarning, stacklevel=2)


def _part(state: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    prefix = f"{name}/"
    return {key[len(prefix) :]: each for key, each in state.items() if key.startswith(prefix)}


def _storable(value: np.ndarray) -> np.ndarray:
    # NumPy's files know neither bfloat16 nor float8; float32 holds all of their values.
    return value if value.dtype.kind in "biuf" else value.astype(np.float32)


def _seeds(model: keras.Model) -> list[keras.Variable]:
    """Returns the states of the model's random layers, which no weights file has."""
    others = {id(each) for each in (*model.weights, *model.metrics_variables)}
    return [each for each in model.variables if id(each) not in others]


def _iterations(model: keras.Model) -> int | None:
    iterations = getattr(getattr(model, "optimizer", None), "iterations", None)
    return None if iterations is None else int(read(iterations))


def _trained_by(model: keras.Model) -> Iterator[list[int] | None]:
    """Gives, for each optimizer, the places of its variables in the model; None if unbuilt."""
    places = {id(each): place for place, each in enumerate(model.weights)}
    for optimizer in _optimizers(model):
        trained = getattr(optimizer, "_trainable_variables", []) if optimizer.built else []
        known = [places.get(id(each)) for each in trained]
        yield None if not known or None in known else known  # type: ignore[misc]


def _optimizers(model: keras.Model) -> Iterator[keras.Optimizer]:
    """Gives the model's optimizer and those that are attributes of it or of a layer, each once.

    Not those within another one: that builds and saves them.
    """
    seen = set()
    for layer in model._flatten_layers():
        for name in sorted(vars(layer)):
            for each in _leaves(vars(layer)[name]):
                if isinstance(each, keras.optimizers.Optimizer) and id(each) not in seen:
                    seen.add(id(each))
                    yield each


def _leaves(value: Any) -> Iterator[Any]:
    """Gives what lists and tables hold."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _leaves(each)
    else:
        yield value
