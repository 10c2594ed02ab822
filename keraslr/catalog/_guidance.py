"""Recommendations: strategies for a task and a run, optimizers for a problem."""

from __future__ import annotations

# Strategies that fit an answer, best first: question, answer, names.
RECOMMENDATIONS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("data size and training length", "small data, short training", ("one cycle", "cyclical")),
    (
        "data size and training length", "medium data, moderate training",
        ("step decay", "exponential decay"),
    ),
    (
        "data size and training length", "large data, long training",
        ("cosine annealing", "reduce on plateau"),
    ),
    ("model", "simple (shallow network)", ("step decay", "exponential decay")),
    (
        "model", "deep (convolutional, recurrent)",
        ("cosine annealing", "reduce on plateau", "one cycle"),
    ),
    ("model", "fine-tuning a pretrained model", ("one cycle",)),
    ("task", "classification", ("step decay", "cosine annealing", "cyclical")),
    ("task", "regression", ("exponential decay", "reduce on plateau")),
    (
        "task", "time-series forecasting or language",
        ("reduce on plateau", "exponential decay"),
    ),
    ("sensitivity to the rate", "sensitive", ("cosine annealing", "reduce on plateau")),
    ("sensitivity to the rate", "insensitive", ("cyclical", "one cycle")),
    ("loss", "fluctuates strongly", ("reduce on plateau",)),
    ("loss", "falls steadily", ("step decay", "exponential decay")),
)  # fmt: skip

# Optimizers that fit a problem.
OPTIMIZERS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("simple, low-dimensional problem", ("gradient descent", "SGD")),
    ("noisy gradients", ("momentum", "Nesterov")),
    ("sparse data", ("AdaGrad", "RMSProp")),
    ("deep network", ("Adam", "AdamW", "Nadam", "AMSGrad")),
)
