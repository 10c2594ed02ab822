"""Models and data of one's own: the numbers of a run are those of `fit` with the same batches."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from fitted import fitted
from kinds import KINDS, Largest

import keraslr
from keraslr import Problem, Run
from keraslr.training import train


def test_a_metric_that_is_no_sum_has_the_values_of_fit():
    def problem():
        plain = KINDS[0]()

        def build():
            model = plain.build()
            model.compile("sgd", "mse", metrics=["mae", Largest()])
            return model

        return Problem("largest", build, plain.x, plain.y, validation_split=0.25)

    run = Run("it", 0.05, problem(), epochs=3, batch_size=8, seed=3)
    result, (_, history) = train(run), fitted(run, problem())
    for name in ("largest", "val_largest", "mae", "loss"):
        np.testing.assert_allclose(result.epochs[name], history[name], rtol=1e-5, err_msg=name)
    first = result.steps["largest"][: result.steps_done // 3]
    assert first == sorted(first)  # the largest so far


def test_a_loss_that_no_metric_keeps_is_the_mean_of_the_steps():
    """Under `fit` it is 0: the metric of that name, which nothing updates."""

    class Own(keras.Sequential):
        def train_step(self, data):
            x, y = data
            with tf.GradientTape() as tape:
                loss = keras.ops.mean(keras.ops.square(self(x, training=True)[:, 0] - y[:, 0]))
            weights = self.trainable_variables
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            return {"loss": loss}

    def build():
        model = Own([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        return model

    plain = KINDS[0]()
    run = Run("it", 0.05, Problem("own", build, plain.x, plain.y), epochs=1, batch_size=8)
    result = train(run)
    mean = np.average(result.loss, weights=[8] * 6 + [4])
    assert result.epochs["loss"] == [pytest.approx(mean, rel=1e-6)]


SCHEDULE = keraslr.CosineAnnealingLR(0.05, T_max=14)
# There `fit` takes one empty step more at the end of each epoch, so that a schedule drifts: the
# optimizer's counter stands at 14 after 12 batches.
RATES = {"dataset_of_unknown_length": 0.05}
# XLA orders sums otherwise where it compiles another graph.
ROUNDED = {"compiled_by_xla": 1e-6}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_it_gives_the_numbers_of_fit(kind):
    rate = RATES.get(kind.__name__, SCHEDULE)
    run = Run(kind.__name__, rate, kind(), epochs=2, batch_size=8, seed=3)
    result = train(run)
    model, history = fitted(run, kind())
    tolerance = ROUNDED.get(kind.__name__, 0)
    for ours, theirs in zip(result.model.variables, model.variables, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=0, atol=tolerance)
    assert result.status == "finished"
    assert set(result.epochs) == {*history, "learning_rate"}
    for name, values in history.items():
        np.testing.assert_allclose(result.epochs[name], values, rtol=1e-5, err_msg=name)
