"""A training process for the tests to kill: `python interrupted_run.py FOLDER [EPOCH BATCH]`.

The program trains each kind of run in a separate folder. Started again, it continues from Keras's
backups. After each epoch it appends the applied rates and the decisions to KIND/epochs.jsonl; at
the end it writes KIND/weights. In the middle of the given epoch of one kind it starts the next
kind; in the middle of the last kind's epoch it prints "waiting" and waits. A kill at that point
interrupts all kinds at once.
"""

from __future__ import annotations

import functools
import hashlib
import json
import sys
import time
from pathlib import Path

import keras
from sklearn.datasets import load_digits
from waiting import PATIENCE

import keraslr
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau

EPOCHS = 9
SCHEDULE = keraslr.CosineAnnealingLR(0.5, T_max=200, eta_min=0.01).with_warmup(30)
# Rate and monitored metric of each kind. The backup comes before or after the rule.
KINDS = {
    "plateau on a schedule, backup first": (SCHEDULE, "val_loss"),
    "plateau on a constant, backup last": (0.5, "loss"),
}


class Record(keras.callbacks.Callback):
    """Appends a line for each epoch."""

    def __init__(self, path, rule):
        super().__init__()
        self.path, self.rule = path, rule

    def on_epoch_end(self, epoch, logs=None):
        line = {"epoch": epoch, "loss": logs["loss"], "val_loss": logs.get("val_loss")}
        line["applied"] = list(logs["applied_learning_rate"])
        line["planned"] = list(logs["planned_learning_rate"])
        line |= self.rule.plateau.numbers()
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class Leave(keras.callbacks.Callback):
    """Calls a function in the middle of an epoch."""

    def __init__(self, epoch, batch, call):
        super().__init__()
        self.at, self.epoch, self.call = (epoch, batch), None, call

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            self.call()


def wait_to_be_killed() -> None:
    print("waiting", flush=True)
    time.sleep(PATIENCE)


def run(folder: Path, kind: str, leave: Leave | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(1)
    x, y = load_digits(return_X_y=True)
    x = x.astype("float32") / 16
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    rate, monitor = KINDS[kind]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, momentum=0.9), loss)
    # So strict that the rule reduces about three times, with cooldowns in between.
    rule = ReduceLROnPlateau(
        monitor, factor=0.5, patience=0, threshold=0.4, cooldown=1, min_lr=1e-3
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False)
    callbacks = [backup, rule]
    if kind.endswith("last"):
        callbacks.reverse()
    callbacks += [LearningRateLogger(), Record(folder / "epochs.jsonl", rule)]
    if leave is not None:
        callbacks.append(leave)
    model.fit(
        x[:1280], y[:1280], epochs=EPOCHS, batch_size=64, shuffle=False, verbose=0,
        validation_data=(x[1280:], y[1280:]) if monitor == "val_loss" else None,
        callbacks=callbacks,
    )  # fmt: skip
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    (folder / "weights").write_text(hashlib.sha256(weights).hexdigest())


def run_all(folder: Path, kinds: list[str], *at: int) -> None:
    """Runs one kind after another; with a place to leave, each inside the one before."""
    if not at:
        for kind in kinds:
            run(folder / kind, kind)
        return
    kind, *rest = kinds
    go_on = functools.partial(run_all, folder, rest, *at) if rest else wait_to_be_killed
    run(folder / kind, kind, Leave(*at, go_on))


if __name__ == "__main__":
    run_all(Path(sys.argv[1]), list(KINDS), *map(int, sys.argv[2:]))
