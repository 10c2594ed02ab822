"""The catalog: every strategy with sensible values and guidance on when to use it."""

from keraslr.catalog._strategies import (
    CATALOG,
    OPTIMIZERS,
    RECOMMENDATIONS,
    Fixed,
    Range,
    Strategy,
    find,
    get,
)

__all__ = ["CATALOG", "OPTIMIZERS", "RECOMMENDATIONS", "Fixed", "Range", "Strategy", "find", "get"]
