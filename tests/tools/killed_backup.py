"""Processes that SIGKILL themselves while they write a backup, for the tests.

`python killed_backup.py FOLDER training` trains, and is killed in the midst of the weights of the
third backup.

`python killed_backup.py FOLDER` writes backups of small files in child processes, the nth of which
is killed at its nth call of the file system. It prints what is then found.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
import warnings
from pathlib import Path

import keras
import numpy as np

import keraslr
from keraslr.callbacks import BackupAndRestore
from keraslr.callbacks._backup_files import Backups

EPOCHS, STEPS = 5, 4


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def network() -> keras.Model:
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, activation="tanh"), keras.layers.Dense(1)]
    )
    schedule = keraslr.StepLR(0.1, step_size=1, gamma=0.5).per_epoch(STEPS)
    model.compile(keras.optimizers.SGD(schedule, momentum=0.9), "mse", jit_compile=False)
    return model


def train(model: keras.Model, *callbacks: keras.callbacks.Callback) -> keras.callbacks.History:
    x = np.random.default_rng(2).normal(size=(8 * STEPS, 6)).astype("float32")
    return model.fit(
        x, x[:, :1], batch_size=8, epochs=EPOCHS, shuffle=False, verbose=0, callbacks=[*callbacks]
    )


def train_and_die(folder: str) -> None:
    model, backup = network(), BackupAndRestore(folder)
    original = model.optimizer.save_own_variables

    def deadly(store):
        if model.optimizer.iterations == 3 * STEPS:
            die()
        return original(store)

    model.optimizer.save_own_variables = deadly
    train(model, backup)


def write_and_die(folder: Path, at: int, epoch: int) -> None:
    """Writes a backup; the process dies at its call of this number of the file system."""
    calls = itertools.count(1)

    def hook(event, arguments):
        if event.startswith(("os.", "shutil.")) or event == "open":
            next(calls) == at and die()

    def fill(into: Path) -> dict[str, int]:
        for name in ("first", "second"):
            (into / name).write_bytes(bytes(range(256)) * epoch)
        return {"epoch": epoch, "step": 0}

    backups = Backups(folder, kept=2)
    backups.newest()
    os.fsync = lambda handle: None  # a kill of the process needs no disk
    sys.addaudithook(hook)
    backups.write(fill)


def die_at_every_call(folder: Path) -> None:
    warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside idle threads
    backups = Backups(folder, kept=2)
    for at in itertools.count(1):
        child = os.fork()
        if not child:
            write_and_die(folder, at, epoch=at)
            os._exit(0)
        killed = os.waitpid(child, 0)[1] == signal.SIGKILL
        left = sorted(each.name for each in folder.iterdir()) if folder.exists() else []
        found, rejected = backups.newest()
        backups.tidy()
        print(json.dumps({
            "at": at, "killed": killed, "epoch": found and found.facts["epoch"],
            "rejected": rejected, "left": left, "tidied": sorted(map(str, folder.glob("*"))),
        }))  # fmt: skip
        if not killed:
            return


if __name__ == "__main__":
    if len(sys.argv) == 2:
        die_at_every_call(Path(sys.argv[1]))
    else:
        train_and_die(sys.argv[1])
