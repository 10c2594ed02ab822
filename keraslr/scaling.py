"""Learning rates for other batch sizes."""

from __future__ import annotations

from keraslr._parameters import MAX_TICKS, Number

__all__ = ["linear_scaling"]


def linear_scaling(learning_rate: float, batch_size: int, base_batch_size: int = 256) -> float:
    """Returns the rate for a batch size, in proportion to a known rate and batch size.

        learning_rate * batch_size / base_batch_size

    Args:
        learning_rate: Rate that works at `base_batch_size`, > 0.
        batch_size: Examples per optimizer step, over all replicas, >= 1.
        base_batch_size: Examples per optimizer step of the known rate, >= 1.

    Returns:
        The scaled rate. With large batches, combine it with a warm-up.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> linear_scaling(0.1, batch_size=1024)
        0.4

    Source: Goyal et al., Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour (2017).
    """
    size = Number("", int, at_least=1, at_most=MAX_TICKS)
    learning_rate = Number("", float, above=0).validated("learning_rate", learning_rate)
    batch_size = size.validated("batch_size", batch_size)
    return learning_rate * batch_size / size.validated("base_batch_size", base_batch_size)
