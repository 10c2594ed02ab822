"""A model whose weights show the rate that each optimizer step applied.

Example n of the data is the nth unit vector, so that step n, on that example alone, changes only
weight n. The weights start at zero, where the gradient of the hinge loss is exactly 1; after one
epoch of plain SGD, weight n is minus the rate of step n, without rounding.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

STEPS = 40
# Tolerances for equality with the values of another library.
RELATIVE, ABSOLUTE = 2e-6, 1e-9

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.backends("tensorflow")
# `steps_per_execution`, and steps compiled as a whole without a C++ compiler.
not_on_torch = pytest.mark.backends("tensorflow", "jax")

# Compilers of a training step, with the value of `jit_compile`.
COMPILERS = {
    "tensorflow": {"grappler": False, "xla": True},
    "jax": {"xla": True},
    "torch": {"nobody": False},
}[BACKEND]
compilers = pytest.mark.parametrize("jit_compile", COMPILERS.values(), ids=COMPILERS)
# The compiler that is fastest for a short run.
QUICKLY = {"jit_compile": next(iter(COMPILERS.values()))}

# Modes of an update outside of `fit`; see `compiled_step`.
STEP_MODES = {
    "tensorflow": ["eager", "graph", "xla"],
    "jax": ["eager", "xla"],
    "torch": ["eager"],
}[BACKEND]


def thinned(cases, every=6, tensorflow=1):
    """Returns all cases on TensorFlow, and every sixth on the other backends (or every Nth).

    For cases that share their code, and whose ways to run are tested separately: TensorFlow takes
    half a second of processor time to compile a training step, and JAX takes a second.
    """
    keys = list(cases)[:: tensorflow if BACKEND == "tensorflow" else every]
    return {key: cases[key] for key in keys} if isinstance(cases, dict) else keys


def array(tensor):
    """Returns a tensor or variable of any backend as a NumPy array."""
    return keras.ops.convert_to_numpy(tensor)


def read_at(schedule, steps):
    """Returns the rates of some steps, as an array.

    The steps are padded to a multiple of 256, because JAX compiles every operation again for each
    new shape.
    """
    steps = np.asarray(steps)
    full = np.zeros(-(-steps.size // 256) * 256, np.int64)
    full[: steps.size] = steps.ravel()
    return array(schedule(full))[: steps.size].reshape(steps.shape)


def unit_vectors(first=0, last=STEPS, size=STEPS):
    return np.eye(size, dtype="float32")[first:last], -np.ones((last - first, 1), "float32")


def compiled(optimizer, size=STEPS, **arguments):
    model = keras.Sequential(
        [
            keras.Input((size,)),
            keras.layers.Dense(1, use_bias=False, kernel_initializer="zeros"),
        ]
    )
    if not isinstance(optimizer, keras.optimizers.Optimizer):
        optimizer = keras.optimizers.SGD(optimizer)
    model.compile(optimizer, loss="hinge", **arguments)
    return model


def fit(model, first=0, last=STEPS, size=STEPS, **arguments):
    """Trains one epoch over these examples, one per step."""
    x, y = unit_vectors(first, last, size)
    arguments = {"epochs": 1, "batch_size": 1, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, **arguments)


def applied(model):
    """Returns the rate of each step, read from the weights."""
    return -model.get_weights()[0][:, 0]


def examples(count):
    """Returns the number of Hypothesis examples: a quarter on other backends, as in `thinned`."""
    return count if BACKEND == "tensorflow" else count // 4


def compiled_step(step, mode, variables):
    """Compiles a function of one tensor. `variables()` returns those it reads and writes."""
    if mode == "eager":
        return step
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(step, jit_compile=mode == "xla")
    import jax

    @jax.jit
    def changed(values, tensor):
        with keras.StatelessScope(zip(variables(), values, strict=True)) as scope:
            step(tensor)
        return [scope.get_current_value(variable) for variable in variables()]

    def stepped(tensor):
        after = changed([variable.value for variable in variables()], tensor)
        for variable, value in zip(variables(), after, strict=True):
            variable.assign(value)

    return stepped
