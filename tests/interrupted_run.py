"""A training process for the tests to kill: `python interrupted_run.py FOLDER KIND [EPOCH BATCH]`.

Started again with the same folder it goes on where Keras's backup is. After each epoch it appends
what was applied and decided to FOLDER/epochs.jsonl; at the end it writes FOLDER/weights. In the
middle of the given epoch it says so and waits to be killed.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import keras
from sklearn.datasets import load_digits

import keraslr
from keraslr.callbacks import LearningRateLogger, ReduceLROnPlateau

EPOCHS = 9
SCHEDULE = keraslr.CosineAnnealingLR(0.5, T_max=200, eta_min=0.01).with_warmup(30)
# Rates and what the rule monitors; None for no rule. The backup comes before or after the rule.
KINDS = {
    "schedule": (SCHEDULE, None),
    "plateau on a schedule, backup first": (SCHEDULE, "val_loss"),
    "plateau on a constant, backup last": (0.5, "loss"),
}


class Record(keras.callbacks.Callback):
    """Appends a line for each epoch."""

    def __init__(self, path, rule):
        super().__init__()
        self.path, self.rule = path, rule

    def on_epoch_end(self, epoch, logs=None):
        line = {"epoch": epoch, "loss": logs["loss"], "val_loss": logs["val_loss"]}
        line["applied"] = list(logs["applied_learning_rate"])
        line["planned"] = list(logs["planned_learning_rate"])
        if self.rule is not None:
            line |= self.rule.plateau.numbers()
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


class WaitToBeKilled(keras.callbacks.Callback):
    """Stops in the middle of an epoch."""

    def __init__(self, epoch, batch):
        super().__init__()
        self.at, self.epoch = (epoch, batch), None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            print("waiting", flush=True)
            time.sleep(600)


def run(folder: Path, kind: str, *kill_at: int) -> None:
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
    # So strict that it reduces some three times, and rests between.
    rule = monitor and ReduceLROnPlateau(
        monitor, factor=0.5, patience=0, threshold=0.4, cooldown=1, min_lr=1e-3
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup", delete_checkpoint=False)
    callbacks = [backup, *([rule] if rule else [])]
    if kind.endswith("last"):
        callbacks.reverse()
    callbacks += [LearningRateLogger(), Record(folder / "epochs.jsonl", rule)]
    if kill_at:
        callbacks.append(WaitToBeKilled(*kill_at))
    model.fit(
        x[:1280], y[:1280], validation_data=(x[1280:], y[1280:]), epochs=EPOCHS, batch_size=64,
        shuffle=False, verbose=0, callbacks=callbacks,
    )  # fmt: skip
    weights = b"".join(weight.tobytes() for weight in model.get_weights())
    (folder / "weights").write_text(hashlib.sha256(weights).hexdigest())


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:]))
