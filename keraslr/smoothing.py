"""Weights that an optimizer's running mean gives to past gradients."""

from __future__ import annotations

import numpy as np

from keraslr._parameters import Number

__all__ = ["effective_samples", "mean_weights", "momentum_weights"]

_DECAY = Number("", float, at_least=0, below=1)
_COUNT = Number("", int, at_least=0)


def momentum_weights(beta: float, n: int) -> np.ndarray:
    """Returns the weights of the last gradients in the velocity of momentum.

        w(k) = beta ** k,    velocity = sum of w(k) * (the gradient k steps ago)

    They add up to `effective_samples(beta)` at most: a steady gradient is followed with a rate so
    many times the optimizer's.

    Args:
        beta: Momentum, 0 <= beta < 1.
        n: Number of gradients, the present one (k = 0) and those before it, >= 0.

    Returns:
        float64 array of shape (n,).

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> momentum_weights(0.5, 4)
        array([1.   , 0.5  , 0.25 , 0.125])

    Source: Zhang et al., Dive into Deep Learning (2023), section 12.6.
    """
    beta = _DECAY.validated("beta", beta)
    return np.power(beta, np.arange(_COUNT.validated("n", n), dtype=np.float64))


def mean_weights(gamma: float, n: int) -> np.ndarray:
    """Returns the weights of the last squared gradients in the running mean of RMSProp.

        w(k) = (1 - gamma) * gamma ** k,    mean = sum of w(k) * (the square k steps ago)

    They add up to 1 at most, so that this is a mean.

    Args:
        gamma: Decay of the mean (Keras's `rho`), 0 <= gamma < 1.
        n: Number of squares, the present one (k = 0) and those before it, >= 0.

    Returns:
        float64 array of shape (n,).

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> mean_weights(0.5, 4)
        array([0.5   , 0.25  , 0.125 , 0.0625])

    Source: Zhang et al., Dive into Deep Learning (2023), section 12.8.
    """
    gamma = _DECAY.validated("gamma", gamma)
    return (1.0 - gamma) * momentum_weights(gamma, n)


def effective_samples(beta: float) -> float:
    """Returns the number of gradients of full weight to which the weights add up.

        1 / (1 - beta) = sum of beta ** k for k = 0, 1, 2, ...

    Args:
        beta: Momentum, or the decay of a running mean, 0 <= beta < 1.

    Returns:
        Number of gradients, >= 1.

    Raises:
        TypeError, ValueError: `beta` is wrong.

    Example:
        >>> effective_samples(0.75)
        4.0

    Source: Zhang et al., Dive into Deep Learning (2023), section 12.6.
    """
    return 1.0 / (1.0 - _DECAY.validated("beta", beta))
