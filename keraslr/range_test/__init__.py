"""The learning-rate range test: which rate to begin with."""

from keraslr.range_test._find import RangeTest, find_learning_rate

__all__ = ["RangeTest", "find_learning_rate"]
