"""Whether a metric is better when it is larger or when it is smaller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import keras

# Parts of names that tell. Of several the last one does: "dice_loss", "error_accuracy".
_LARGER = frozenset({
    "acc", "accuracy", "auc", "auroc", "auprc", "aupr", "aucpr", "precision", "recall",
    "sensitivity", "specificity", "tpr", "tnr", "f1", "f2", "fbeta", "r2", "iou", "miou", "jaccard",
    "dice", "bleu", "rouge", "meteor", "ndcg", "mrr", "kappa", "mcc", "psnr", "ssim", "pearson",
    "spearman", "correlation",
})  # fmt: skip
_SMALLER = frozenset({
    "loss", "losses", "error", "err", "mse", "mae", "mape", "msle", "rmse", "rmsle", "smape",
    "crossentropy", "logloss", "nll", "perplexity", "ppl", "divergence", "hinge", "poisson",
    "huber", "logcosh", "deviance", "wer", "cer", "fid", "brier", "fpr", "fnr", "distance",
})  # fmt: skip
# What may stand behind such a part and does not change what it tells.
_NEUTRAL = frozenset({
    "score", "metric", "coef", "coefficient", "mean", "avg", "average", "macro", "micro",
    "weighted", "class", "top", "k", "at", "rate",
})  # fmt: skip
# A part that turns the direction of the others.
_TURNING = frozenset({"neg", "negative", "minus", "inverse", "inv", "one", "no", "not", "non"})


def direction_of(monitor: str, model: Any = None) -> str | None:
    """Returns "max" or "min" for a metric's name in the logs; None where it cannot be told.

    Keras's own metrics know their direction, once they are built. Otherwise the name tells, without
    that of an output: "val_head_accuracy".
    """
    name = monitor.removeprefix("val_")
    if name == "loss":
        return "min"
    outputs = sorted(getattr(model, "output_names", None) or [], key=len, reverse=True)
    own = next((name[len(each) + 1 :] for each in outputs if name.startswith(f"{each}_")), name)
    for metric in metrics_of(model):
        direction = getattr(metric, "_direction", None)
        if direction in ("up", "down") and metric.name in (name, own):
            return "max" if direction == "up" else "min"
    parts = re.findall(r"[a-z]+\d?|\d+", own.lower())
    if _TURNING & set(parts):
        return None
    for part in reversed(parts):
        for form in (part, part.rstrip("0123456789")):
            if form in _LARGER | _SMALLER:
                return "max" if form in _LARGER else "min"
        if part not in _NEUTRAL and not part.isdigit():
            return None
    return None


def may_be_told_later(monitor: str, model: Any) -> bool:
    """Returns whether a metric was compiled by its name: Keras makes it in the first step."""
    compiled = getattr(model, "_compile_metrics", None)
    if compiled is None or getattr(compiled, "built", True):
        return False
    given = [getattr(compiled, name, None) for name in ("_user_metrics", "_user_weighted_metrics")]
    names = [each for each in keras.tree.flatten(given) if isinstance(each, str)]
    return any(monitor.endswith(each) for each in names)


def metrics_of(model: Any) -> Iterator[Any]:
    """Yields the model's metrics, those in what was compiled, and those not built yet."""
    waiting = list(getattr(model, "metrics", None) or [])
    compiled = getattr(model, "_compile_metrics", None)
    if compiled is not None:
        waiting.append(compiled)
    seen: set[int] = set()
    while waiting:
        metric = waiting.pop(0)
        if id(metric) in seen:
            continue
        seen.add(id(metric))
        if isinstance(metric, dict):
            waiting += metric.values()
        elif isinstance(metric, list | tuple):
            waiting += metric
        else:
            for inner in ("metrics", "_user_metrics"):
                waiting += [getattr(metric, inner, None) or []]
            if isinstance(getattr(metric, "name", None), str):
                yield metric
