"""Optimizers that Keras lacks: a momentum that follows a schedule, and Yogi."""

from keraslr.optimizers._momentum import SGD, Adam
from keraslr.optimizers._yogi import Yogi

__all__ = ["SGD", "Adam", "Yogi"]
