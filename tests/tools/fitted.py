"""What `fit` makes of a run: the same model, the same schedule, the same batches."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import tensorflow as tf

from keraslr import Problem, Run
from keraslr.problems._data import Arrays, Batches
from keraslr.training._run import model_of


def fitted(run: Run, problem: Problem) -> tuple[keras.Model, dict[str, list[float]]]:
    """Trains with `fit`, in the order of a run; returns the model and its history."""
    model, data = model_of(run, problem), problem.data()
    arguments = {"steps_per_epoch": problem.steps_per_epoch}
    x = data.train
    if isinstance(x, Arrays) or isinstance(x.source, keras.utils.PyDataset):
        batches = list(_in_order(x, run))
        arguments["steps_per_epoch"] = len(batches) // run.epochs
        x = tf.data.Dataset.from_generator(
            lambda: iter(batches),
            output_signature=keras.tree.map_structure(_spec, batches[0]),
        )
    else:
        x = x.source() if callable(x.source) else x.source
    validation = data.validation
    if isinstance(validation, Arrays):
        validation = validation.packed(validation.leaves)
    elif validation is not None:
        validation = validation.source
    with warnings.catch_warnings():
        # Keras takes the end of a dataset of unknown length for too little data.
        warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
        fit = model.fit(
            x, epochs=run.epochs, verbose=0, shuffle=False, validation_data=validation,
            validation_batch_size=run.batch_size if isinstance(data.validation, Arrays) else None,
            **arguments,
        )  # fmt: skip
    return model, fit.history


def _in_order(data: Arrays | Batches, run: Run):
    for epoch in range(run.epochs):
        generator = np.random.default_rng([run.seed, epoch])
        if isinstance(data, Batches):
            yield from (data.source[int(i)] for i in generator.permutation(data.count))
            continue
        order = generator.permutation(data.examples)
        for begin in range(0, data.examples, run.batch_size):
            chosen = order[begin : begin + run.batch_size]
            yield data.packed([leaf[chosen] for leaf in data.leaves])


def _spec(leaf):
    return None if leaf is None else tf.TensorSpec([None, *leaf.shape[1:]], leaf.dtype)
