"""The published comparisons: their settings and figures as data, and what runs them.

Each part has a data file, which holds every setting and figure, and a module of the same name,
which makes jobs of it and says what their results mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from keraslr.documented import (
    _airfoil,
    _curves,
    _descent,
    _large_batch,
    _lenet,
    _polynomial,
)
from keraslr.documented._lenet import (
    Published,
    collapsed,
    lenet_schedules,
    published_figures,
)
from keraslr.documented._parts import (
    Findings,
    Job,
    Line,
    Part,
    Picture,
    Plan,
    Spread,
    Statement,
    Verdict,
)

__all__ = [
    "PARTS",
    "Findings",
    "Job",
    "Line",
    "Part",
    "Picture",
    "Plan",
    "Published",
    "Spread",
    "Statement",
    "Verdict",
    "collapsed",
    "lenet_schedules",
    "published_figures",
]

_MODULES = (_descent, _airfoil, _lenet, _polynomial, _large_batch, _curves)

PARTS: Mapping[str, Part] = MappingProxyType({each.PART.name: each.PART for each in _MODULES})
