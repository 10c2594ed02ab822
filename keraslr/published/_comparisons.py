"""All published comparisons, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from keraslr.published import _airfoil, _curves, _descent, _large_batch, _lenet, _polynomial
from keraslr.published._parts import Part

_MODULES = (_descent, _airfoil, _lenet, _polynomial, _large_batch, _curves)

PARTS: Mapping[str, Part] = MappingProxyType({each.PART.name: each.PART for each in _MODULES})
