"""The learning-rate range test, which suggests an initial learning rate."""

from keraslr.range_test._find import find_learning_rate
from keraslr.range_test._rules import RangeTest

__all__ = ["RangeTest", "find_learning_rate"]
