"""A model whose weights say which rate each optimizer step applied.

Example n of the data is the nth unit vector, so that step n, on that example alone, changes weight
n and no other. The weights begin at zero and the gradient of the hinge loss is exactly 1 there;
after one epoch of plain SGD weight n is minus the rate of step n, with nothing rounded in between.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest

STEPS = 40
# Within which our values equal those of another library.
RELATIVE, ABSOLUTE = 2e-6, 1e-9

BACKEND = keras.backend.backend()
on_tensorflow = pytest.mark.backends("tensorflow")
# `steps_per_execution`, and steps compiled as a whole without a C++ compiler.
not_on_torch = pytest.mark.backends("tensorflow", "jax")

# Who may compile a training step, with the value of `jit_compile`.
COMPILERS = {
    "tensorflow": {"grappler": False, "xla": True},
    "jax": {"xla": True},
    "torch": {"nobody": False},
}[BACKEND]
compilers = pytest.mark.parametrize("jit_compile", COMPILERS.values(), ids=COMPILERS)
# The one that takes the least time for a short run.
QUICKLY = {"jit_compile": next(iter(COMPILERS.values()))}

# How an update outside of `fit` may be run; see `compiled_step`.
STEP_MODES = {
    "tensorflow": ["eager", "graph", "xla"],
    "jax": ["eager", "xla"],
    "torch": ["eager"],
}[BACKEND]


def thinned(cases, every=6, tensorflow=1):
    """All of them under TensorFlow and each sixth under the others, or as many as is said.

    For what is the same code for all, run in ways that are tested for themselves: TensorFlow takes
    half a second of a processor to compile a training step, and JAX a whole one.
    """
    keys = list(cases)[:: tensorflow if BACKEND == "tensorflow" else every]
    return {key: cases[key] for key in keys} if isinstance(cases, dict) else keys


def array(tensor):
    """Of a tensor or variable of any backend."""
    return keras.ops.convert_to_numpy(tensor)


def read_at(schedule, steps):
    """The rates of some steps, as an array.

    They are computed among as many others as make them 256: for each new shape JAX compiles every
    operation anew.
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
    """One epoch over these examples, one a step."""
    x, y = unit_vectors(first, last, size)
    arguments = {"epochs": 1, "batch_size": 1, "shuffle": False, "verbose": 0, **arguments}
    return model.fit(x, y, **arguments)


def applied(model):
    """The rate of each step, read off the weights."""
    return -model.get_weights()[0][:, 0]


def examples(count):
    """How many Hypothesis draws: a quarter under the other backends, by the same reasoning."""
    return count if BACKEND == "tensorflow" else count // 4


def compiled_step(step, mode, variables):
    """A function of one tensor, compiled. `variables()` are those that it reads and writes."""
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
