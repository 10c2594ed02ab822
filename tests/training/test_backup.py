"""A run that was killed goes on from its backup."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from small_runs import SMALL, STEPS

from keraslr import ExponentialLR
from keraslr.training import Run, train

# A backup of each epoch.


def test_a_run_that_was_killed_goes_on_from_its_backup(tmp_path, slices_of):
    """By an error that nothing catches, after the second epoch. Dropout has a state, too."""

    def build(seed):
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                keras.layers.Flatten(),
                keras.layers.Dropout(0.2, seed=seed),
                keras.layers.BatchNormalization(),
                keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed)),
            ]
        )

    def killed(done, steps, result):
        if done > 2 * STEPS:
            raise SystemExit

    run = Run(
        "it", ExponentialLR(0.2, gamma=0.98), model=build, optimizer="Adam", dataset="digits",
        batch_size=64, epochs=4,
    )  # fmt: skip
    whole = train(run)
    slices_of(4)
    with pytest.raises(SystemExit):
        train(run, backup=tmp_path, on_progress=killed)
    told = []
    resumed = train(run, backup=tmp_path, on_progress=lambda done, *_: told.append(done))
    assert told[0] == 2 * STEPS + 4
    for figure in ("loss", "accuracy", "learning_rate", "train_loss", "test_loss", "test_accuracy"):
        assert getattr(resumed, figure) == getattr(whole, figure), figure
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    # Finished, it is not trained again, and another run has a file of its own.
    again = train(run, backup=tmp_path, on_progress=lambda *_: pytest.fail("it trains"))
    assert (again.status, again.test_loss) == ("finished", whole.test_loss)
    train(dataclasses.replace(run, seed=1, epochs=1), backup=tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY"])
def test_a_damaged_backup_is_named(tmp_path, content):
    run = Run("it", 0.1, **SMALL)
    (tmp_path / f"{run.key()}.npz").write_bytes(content)
    with pytest.raises(ValueError, match=rf"{run.key()}\.npz is not a backup of a run"):
        train(run, backup=tmp_path)
