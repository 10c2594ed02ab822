"""Training on several devices, as a program that tests start:

    python replicas.py devices FOLDER                         two CPU devices in one process
    python replicas.py worker FOLDER INDEX ADDRESSES [EPOCH]  one of several processes

`devices` trains on one device and on both, and writes each result to FOLDER/NAME.json. `worker`
writes FOLDER/result-INDEX.json; with EPOCH it kills itself in the middle of that epoch, if its
slices are short enough.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import keras
import kinds
import tensorflow as tf

import keraslr
from keraslr.training import ClusterError, Run, is_chief, train
from keraslr.training._loop import SLICE_STEPS

STEPS = 23  # per epoch, of 1437 examples in batches of 64; the last batch has 29
# The gradient over the whole batch is clipped by its norm, as on one device, regardless of the
# division among replicas. The limit is low enough for clipping to occur.
LENET = Run(
    "lenet", keraslr.CosineAnnealingLR(0.1, T_max=4).per_epoch(STEPS), dataset="digits", epochs=3,
    batch_size=64, optimizer_arguments={"momentum": 0.9, "global_clipnorm": 0.5},
)  # fmt: skip


def penalized(seed):
    """Returns a network with a regularization loss."""
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            keras.layers.Flatten(),
            keras.layers.Dense(
                10,
                kernel_regularizer=keras.regularizers.L2(0.1),
                kernel_initializer=keras.initializers.GlorotUniform(seed),
            ),
        ]
    )


RUNS = {
    "lenet": LENET,
    "scaled": LENET.on_replicas(2, warmup_epochs=1),
    # The last step of an epoch has one example for two replicas.
    "penalized": Run(
        "penalized", 0.01, model=penalized, dataset="digits", batch_size=1436, epochs=3,
        optimizer="Adam", optimizer_arguments={"weight_decay": 0.01},
    ),
}  # fmt: skip


def own(kind: Any) -> Run:
    """Returns a run of a model of one's own."""
    return Run(kind.__name__, 0.01, kind(), epochs=2, batch_size=8)


OWN = {
    kind.__name__: kind
    for kind in (
        kinds.text_without_dropout, kinds.two_outputs, kinds.own_train_step, kinds.weighted,
        kinds.dataset, kinds.dataset_of_unknown_length, kinds.py_dataset, kinds.mixed_precision,
    )
}  # fmt: skip


def devices(folder: Path) -> None:
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    distribution_strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    for name, run in RUNS.items():
        train(run).save(folder / f"{name} on one.json")
        train(run, distribution_strategy=distribution_strategy).save(
            folder / f"{name} on both.json"
        )
    for name, kind in OWN.items():
        train(own(kind)).save(folder / f"own {name} on one.json")
        train(own(kind), distribution_strategy=distribution_strategy).save(
            folder / f"own {name} on both.json"
        )
    seen: list[int] = []
    # To stop within the third epoch, independent of the slice length of the other runs.
    before = os.environ.get(SLICE_STEPS, "")
    os.environ[SLICE_STEPS] = "5"
    train(
        LENET, distribution_strategy=distribution_strategy, backup=folder / "backup",
        on_progress=lambda done, *_: seen.append(done),
        should_stop=lambda: bool(seen) and seen[-1] > 2 * STEPS,
    ).save(folder / "stopped.json")  # fmt: skip
    os.environ[SLICE_STEPS] = before
    train(LENET, distribution_strategy=distribution_strategy, backup=folder / "backup").save(
        folder / "resumed.json"
    )
    try:
        train(
            Run("it", 0.1, dataset="digits", batch_size=1),
            distribution_strategy=distribution_strategy,
        )
    except ValueError as error:
        print(error)


def worker(folder: Path, index: str, addresses: str, epoch: str = "") -> None:
    os.environ["TF_CONFIG"] = json.dumps(
        {
            "cluster": {"worker": addresses.split(",")},
            "task": {"type": "worker", "index": int(index)},
        }
    )
    distribution_strategy = tf.distribute.MultiWorkerMirroredStrategy()
    print(
        json.dumps(
            {
                "chief": is_chief(distribution_strategy),
                "replicas": distribution_strategy.num_replicas_in_sync,
            }
        )
    )

    def tell(done: int, steps: int, result: object) -> None:
        if epoch and done > STEPS * int(epoch) + 3:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        result = train(
            LENET,
            distribution_strategy=distribution_strategy,
            backup=folder / "backup",
            on_progress=tell,
        )
    except ClusterError as error:
        print(json.dumps({"error": str(error)}), flush=True)
        os._exit(3)
    result.save(folder / f"result-{index}.json")


if __name__ == "__main__":
    {"devices": devices, "worker": worker}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
