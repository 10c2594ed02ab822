"""The networks to train."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

import keras
import numpy as np

from keraslr import optimizers

__all__ = ["INITIALIZATIONS", "MODELS", "lenet", "resnet50"]

INITIALIZATIONS = ("pytorch", "keras")


def lenet(initialization: str = "pytorch", seed: int | None = None) -> keras.Model:
    """LeNet-5 with ReLU and max pooling: 61,706 parameters.

        28x28x1 -> convolution 6 of 5x5, padded by 2 -> ReLU -> max pooling 2
                -> convolution 16 of 5x5             -> ReLU -> max pooling 2
                -> dense 120, ReLU -> dense 84, ReLU -> dense 10

    Args:
        initialization: "pytorch" draws weights and biases uniformly from -b to b with
            b = 1 / sqrt(fan_in), as PyTorch does; "keras" leaves both to Keras.
        seed: Seed of the first weights; None for different weights each time.

    Returns:
        Model from float images (batch, 28, 28, 1) in [0, 1] to logits (batch, 10).

    Raises:
        ValueError: The initialization is unknown.

    Source: LeCun et al., Gradient-Based Learning Applied to Document Recognition (1998), in the
    form of the published comparison.
    """
    if initialization not in INITIALIZATIONS:
        raise ValueError(
            f'initialization must be "pytorch" or "keras". Received: {initialization!r}'
        )
    # A different seed for each tensor: equal seeds would draw equal numbers.
    seeds = iter(np.random.SeedSequence(seed).generate_state(10).tolist())

    def drawn(fan_in: int) -> dict[str, keras.Initializer]:
        if initialization == "keras":
            return {"kernel_initializer": keras.initializers.GlorotUniform(next(seeds))}
        bound = 1 / math.sqrt(fan_in)
        return {
            name: keras.initializers.RandomUniform(-bound, bound, seed=next(seeds))
            for name in ("kernel_initializer", "bias_initializer")
        }

    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            # ReLU after the pooling gives the same numbers and gradients as before it, since both
            # keep the order of their inputs, for a quarter of the work.
            layers.Conv2D(6, 5, padding="same", **drawn(25)),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            layers.Conv2D(16, 5, **drawn(150)),
            layers.MaxPooling2D(2),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(120, activation="relu", **drawn(400)),
            layers.Dense(84, activation="relu", **drawn(120)),
            layers.Dense(10, **drawn(84)),
        ],
        name="lenet",
    )


def resnet50(
    schedule: keras.optimizers.schedules.LearningRateSchedule | float,
    *,
    input_shape: tuple[int, int, int] = (224, 224, 3),
    classes: int = 1000,
    momentum: float = 0.9,
) -> keras.Model:
    """ResNet-50, compiled for training from scratch with SGD under a schedule.

    Args:
        schedule: Learning rate, counted in optimizer steps.
        input_shape: Height and width (each >= 32) and channels of the images.
        classes: Number of classes.
        momentum: Momentum of SGD, in Nesterov's form and by PyTorch's rule: in this recipe a change
            of the rate applies to the whole velocity (Goyal et al., equation 9).

    Returns:
        Compiled model from images to logits (batch, classes), with accuracy as a metric.

    Raises:
        ValueError: The images are too small, or the optimizer refuses its arguments.

    Example:
        >>> import keraslr, math
        >>> steps_per_epoch = math.ceil(1_281_167 / 1024)
        >>> rate = keraslr.linear_scaling(0.1, batch_size=1024)
        >>> cosine = keraslr.CosineAnnealingLR(rate, T_max=85 * steps_per_epoch)
        >>> model = keraslr.models.resnet50(cosine.with_warmup(5 * steps_per_epoch))

    Source: He et al., Deep Residual Learning for Image Recognition (2016), by way of
    `keras.applications.ResNet50`; rate and momentum as in He et al., Bag of Tricks for Image
    Classification with Convolutional Neural Networks (2019), and in Goyal et al., Accurate, Large
    Minibatch SGD (2017).
    """
    model = keras.applications.ResNet50(
        weights=None, input_shape=input_shape, classes=classes, classifier_activation=None
    )
    model.compile(
        optimizers.SGD(
            schedule, momentum=momentum, nesterov=momentum != 0, momentum_rule="pytorch"
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


MODELS: MappingProxyType[str, Callable[..., keras.Model]] = MappingProxyType({"lenet": lenet})
