"""Whether a metric is better when it is larger or when it is smaller."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

# Parts of names that tell. A part of the second list decides: "dice_loss" is a loss.
_LARGER = frozenset({
    "acc", "accuracy", "auc", "auroc", "auprc", "aupr", "aucpr", "roc", "ap", "map", "precision",
    "recall", "sensitivity", "specificity", "tpr", "tnr", "f1", "f2", "fbeta", "r2", "iou", "miou",
    "jaccard", "dice", "bleu", "rouge", "meteor", "ndcg", "mrr", "kappa", "mcc", "psnr", "ssim",
    "pearson", "spearman", "correlation", "similarity",
})  # fmt: skip
_SMALLER = frozenset({
    "loss", "losses", "error", "err", "mse", "mae", "mape", "msle", "rmse", "rmsle", "smape",
    "crossentropy", "logloss", "nll", "perplexity", "ppl", "divergence", "hinge", "poisson",
    "huber", "logcosh", "deviance", "wer", "cer", "fid", "brier", "fpr", "fnr", "distance",
})  # fmt: skip
# Such a part turns the direction of the others.
_TURNING = frozenset(("neg", "negative", "minus", "inverse", "one"))


def direction_of(monitor: str, model: Any = None) -> str | None:
    """Returns "max" or "min" for a metric's name in the logs; None where it cannot be told.

    Keras's own metrics know their direction. Otherwise the name tells: "val_head_accuracy".
    """
    name = monitor.removeprefix("val_")
    if name == "loss":
        return "min"
    for metric in metrics_of(model):
        direction = getattr(metric, "_direction", None)
        if direction in ("up", "down") and _is_named(name, metric.name):
            return "max" if direction == "up" else "min"
    parts = re.findall(r"[a-z]+\d?|\d+", name.lower())
    known = {part for part in parts if part in _LARGER | _SMALLER}
    known |= {part.rstrip("0123456789") for part in parts} & (_LARGER | _SMALLER)
    if not known or _TURNING & set(parts):
        return None
    return "min" if known & _SMALLER else "max"


def _is_named(name: str, metric: str) -> bool:
    return name == metric or name.endswith(f"_{metric}")


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
