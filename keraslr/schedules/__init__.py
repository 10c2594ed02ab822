"""Learning-rate schedules: the pure mathematics.

To add one, see `Schedule`: a docstring with the formula, the declared parameters, and `at`.
"""

from keraslr._parameters import choice, flag, integer, integers, parameters, rate, rates, real
from keraslr.schedules._chained import ChainedScheduler
from keraslr.schedules._cosine import CosineAnnealingLR, CosineAnnealingWarmRestarts
from keraslr.schedules._curves import geometric
from keraslr.schedules._cyclic import CycledMomentum, CyclicLR, OneCycleLR
from keraslr.schedules._decay import (
    ExponentialLR,
    FactorLR,
    InversePowerLR,
    LinearLR,
    PolynomialLR,
)
from keraslr.schedules._expressions import parse
from keraslr.schedules._from_keras import from_keras as _from_keras  # noqa: F401 (registers)
from keraslr.schedules._interpolated import InterpolatedLR
from keraslr.schedules._registry import register, registered
from keraslr.schedules._schedule import (
    Clipped,
    HeldAfter,
    PerEpoch,
    Scaled,
    Schedule,
    SequentialLR,
    Warmup,
)
from keraslr.schedules._stepwise import ConstantLR, MultiStepLR, PiecewiseConstantLR, StepLR
from keraslr.schedules._tabulated import LambdaLR, MultiplicativeLR
from keraslr.schedules._transformer import InverseSqrtLR, WarmupStableDecayLR

__all__ = [
    "ChainedScheduler",
    "Clipped",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CycledMomentum",
    "CyclicLR",
    "ExponentialLR",
    "FactorLR",
    "HeldAfter",
    "InterpolatedLR",
    "InversePowerLR",
    "InverseSqrtLR",
    "LambdaLR",
    "LinearLR",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PerEpoch",
    "PiecewiseConstantLR",
    "PolynomialLR",
    "Scaled",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "Warmup",
    "WarmupStableDecayLR",
    "choice",
    "flag",
    "geometric",
    "integer",
    "integers",
    "parameters",
    "parse",
    "rate",
    "rates",
    "real",
    "register",
    "registered",
]
