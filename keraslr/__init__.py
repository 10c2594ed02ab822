"""Learning-rate schedules for Keras that equal PyTorch's to the number, and what goes with them."""

from keraslr import callbacks as callbacks
from keraslr import optimizers as optimizers
from keraslr._environment import show_versions
from keraslr._version import __version__
from keraslr.catalog import get
from keraslr.checks import Finding, check
from keraslr.comparison import Comparison, compare
from keraslr.range_test import RangeTest, find_learning_rate
from keraslr.scaling import linear_scaling
from keraslr.schedules import (
    ChainedScheduler,
    Clipped,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CycledMomentum,
    CyclicLR,
    ExponentialLR,
    FactorLR,
    HeldAfter,
    InterpolatedLR,
    InversePowerLR,
    InverseSqrtLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PerEpoch,
    PiecewiseConstantLR,
    PolynomialLR,
    Scaled,
    Schedule,
    SequentialLR,
    StepLR,
    Warmup,
    WarmupStableDecayLR,
    parse,
)

__all__ = [
    "ChainedScheduler",
    "Clipped",
    "Comparison",
    "ConstantLR",
    "CosineAnnealingLR",
    "CosineAnnealingWarmRestarts",
    "CycledMomentum",
    "CyclicLR",
    "ExponentialLR",
    "FactorLR",
    "Finding",
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
    "RangeTest",
    "Scaled",
    "Schedule",
    "SequentialLR",
    "StepLR",
    "Warmup",
    "WarmupStableDecayLR",
    "__version__",
    "check",
    "compare",
    "find_learning_rate",
    "get",
    "linear_scaling",
    "parse",
    "show_versions",
]
