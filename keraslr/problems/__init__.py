"""Problems: a model and its data, for runs, comparisons, range tests and panels."""

from keraslr.problems._images import NAMES, digits, fashion_mnist, images, load
from keraslr.problems._problem import Problem

__all__ = ["NAMES", "Problem", "digits", "fashion_mnist", "images", "load"]
