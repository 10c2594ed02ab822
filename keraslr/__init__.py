"""Learning-rate schedules for Keras that equal PyTorch's to the number, and what goes with them."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from keraslr._environment import show_versions
from keraslr._version import __version__
from keraslr.catalog import get
from keraslr.checks import Finding, check
from keraslr.comparison import Comparison, compare
from keraslr.problems import Problem
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
from keraslr.training import LiveRun, Result, Run

if TYPE_CHECKING:
    from keraslr import advice as advice
    from keraslr import callbacks as callbacks
    from keraslr import catalog as catalog
    from keraslr import checks as checks
    from keraslr import cli as cli
    from keraslr import comparison as comparison
    from keraslr import datasets as datasets
    from keraslr import descent as descent
    from keraslr import models as models
    from keraslr import objectives as objectives
    from keraslr import optimizers as optimizers
    from keraslr import plotting as plotting
    from keraslr import problems as problems
    from keraslr import published as published
    from keraslr import range_test as range_test
    from keraslr import scaling as scaling
    from keraslr import schedules as schedules
    from keraslr import smoothing as smoothing
    from keraslr import snippets as snippets
    from keraslr import summary as summary
    from keraslr import training as training

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
    "LiveRun",
    "MultiStepLR",
    "MultiplicativeLR",
    "OneCycleLR",
    "PerEpoch",
    "PiecewiseConstantLR",
    "PolynomialLR",
    "Problem",
    "RangeTest",
    "Result",
    "Run",
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

# Imported when first used: a schedule needs few of them, and some need Matplotlib or TensorFlow.
_MODULES = (
    "advice",
    "callbacks",
    "catalog",
    "checks",
    "cli",
    "comparison",
    "datasets",
    "descent",
    "models",
    "objectives",
    "optimizers",
    "plotting",
    "problems",
    "published",
    "range_test",
    "scaling",
    "schedules",
    "smoothing",
    "snippets",
    "summary",
    "training",
)

# A type checker that saw it would take any name for one of this module's.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _MODULES:
            return importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
