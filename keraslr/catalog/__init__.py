"""The catalog: every strategy with sensible values and guidance on when to use it."""

from keraslr.catalog._guidance import OPTIMIZERS, RECOMMENDATIONS
from keraslr.catalog._optimizers import DESCENT_OPTIMIZERS, DescentOptimizer
from keraslr.catalog._ranges import Fixed, Range
from keraslr.catalog._strategies import CATALOG, Strategy, find, get

__all__ = [
    "CATALOG",
    "DESCENT_OPTIMIZERS",
    "OPTIMIZERS",
    "RECOMMENDATIONS",
    "DescentOptimizer",
    "Fixed",
    "Range",
    "Strategy",
    "find",
    "get",
]
