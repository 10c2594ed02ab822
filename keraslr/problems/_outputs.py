"""What a model takes and gives: images, logits or probabilities."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from keraslr.datasets import CLASSES, IMAGE_SHAPE

_LOGITS = "model must end in ten logits, of shape (batch, 10), without softmax or sigmoid"
_REMEDY = "leave the last activation out, as in keras.layers.Dense(10)"

# Layers and operations that leave the values of a tensor as they are.
_NEUTRAL = ("Cast", "Dropout", "Flatten", "Identity", "Reshape")
_PROBABILITIES = ("HardSigmoid", "Sigmoid", "Softmax")


def require_images(model: keras.Model) -> None:
    """Raises a `ValueError` if the model is known to take something other than images."""
    shape = getattr(model, "input_shape", None) if model.built else None
    if not isinstance(shape, tuple) or not shape or isinstance(shape[0], tuple):
        return
    if len(shape) != 4 or any(
        size is not None and size != wanted
        for size, wanted in zip(shape[1:], IMAGE_SHAPE, strict=True)
    ):
        raise ValueError(
            "model must take images of shape (28, 28, 1), unless it comes with data of its own: "
            "pass x and y with it, or a keraslr.Problem. "
            f"Received: {model.name!r} with inputs of shape {shape}"
        )


def require_logits(model: keras.Model) -> None:
    """Raises a `ValueError` unless the model ends in ten logits."""
    if not model.built:
        model(_images())  # creates the model's variables
    last = last_operation(model)
    shape: Any
    if last is None:
        # The model's own `call` may do anything, so only its outputs show what it computes.
        outputs = model(_images(), training=False)
        shape = tuple(outputs.shape) if hasattr(outputs, "shape") else None
        said = _probabilities_in(outputs) if _is_logits(shape) else ""
    else:
        shape = model.output_shape
        said = probabilities_of(last)
    if not _is_logits(shape):
        raise ValueError(
            f"{_LOGITS}: make the last layer keras.layers.Dense(10). "
            f"Received: {model.name!r} with outputs of shape {shape}"
        )
    if said:
        raise ValueError(f"{_LOGITS}: {_REMEDY}. Received: {model.name!r}, which ends in {said}")


def _images() -> Any:
    images = np.random.default_rng(0).random((4, *IMAGE_SHAPE), np.float32)
    return keras.ops.convert_to_tensor(images)


def _is_logits(shape: Any) -> bool:
    return isinstance(shape, tuple | list) and len(shape) == 2 and shape[1] == CLASSES


def last_operation(model: keras.Model) -> Any:
    """Returns the operation that computes the outputs; None unless it is one of Keras's own."""
    outputs = getattr(model, "outputs", None)
    if not outputs:
        return None
    operation, node, _ = outputs[0]._keras_history
    while _is_neutral(operation):
        history = getattr(operation._inbound_nodes[node].input_tensors[0], "_keras_history", None)
        if history is None:
            break
        operation, node, _ = history
    if isinstance(operation, keras.Model):
        return last_operation(operation)
    return operation if type(operation).__module__.partition(".")[0] == "keras" else None


def _is_neutral(operation: Any) -> bool:
    linear = getattr(operation, "activation", None) is keras.activations.linear
    return type(operation).__name__ in _NEUTRAL or (
        isinstance(operation, keras.layers.Activation) and linear
    )


def probabilities_of(operation: Any) -> str:
    """Returns the name of the activation that gives probabilities; empty if there is none."""
    activations = keras.activations
    activation = getattr(operation, "activation", None)
    for name in ("softmax", "sigmoid", "hard_sigmoid"):
        if activation is getattr(activations, name):
            return name
    name = type(operation).__name__
    return name.lower() if name in _PROBABILITIES else ""


def _probabilities_in(outputs: Any) -> str:
    values = keras.ops.convert_to_numpy(outputs).astype(np.float64)
    sums = values.sum(1)
    return "probabilities" if (values >= 0).all() and np.abs(sums - 1).max() < 1e-2 else ""
