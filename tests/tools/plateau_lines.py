"""The plateau rules of Keras, timm and optax as ours, and the lines of the pages about them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

import porting_tables

from keraslr.callbacks import ReduceLROnPlateau

Settings = dict[str, Any]


def from_keras(
    monitor: str = "val_loss",
    factor: float = 0.1,
    patience: int = 10,
    mode: str = "auto",
    min_delta: float = 1e-4,
    cooldown: int = 0,
    min_lr: float = 0.0,
) -> Settings:
    """Returns our arguments for those of `keras.callbacks.ReduceLROnPlateau`."""
    return {
        "monitor": monitor, "mode": mode, "factor": factor, "patience": max(patience - 1, 0),
        "threshold": min_delta, "threshold_mode": "abs", "cooldown": max(cooldown - 1, 0),
        "min_lr": min_lr, "eps": 0.0,
    }  # fmt: skip


def from_timm(
    decay_rate: float = 0.1,
    patience_t: int = 10,
    threshold: float = 1e-4,
    cooldown_t: int = 0,
    warmup_t: int = 0,
    warmup_lr_init: float = 0.0,
    lr_min: float = 0.0,
    mode: str = "max",
) -> Settings:
    """Returns our arguments for those of timm's `PlateauLRScheduler`; its warm-up is a schedule."""
    return {
        "monitor": "val_accuracy", "mode": mode, "factor": decay_rate, "patience": patience_t,
        "threshold": threshold, "cooldown": cooldown_t, "min_lr": lr_min, "start": warmup_t,
    }  # fmt: skip


def from_optax(
    factor: float = 0.1,
    patience: int = 10,
    rtol: float = 1e-4,
    atol: float = 0.0,
    cooldown: int = 0,
    accumulation_size: int = 1,
    min_scale: float = 0.0,
) -> Settings:
    """Returns our arguments for those of optax's `reduce_on_plateau`, on a constant rate."""
    if patience < 1 or (rtol and atol):
        raise ValueError("no argument of ours does the same")
    return {
        "monitor": "loss", "factor": factor, "patience": patience - 1, "threshold": rtol or atol,
        "threshold_mode": "rel" if rtol else "abs", "cooldown": cooldown,
        "every": accumulation_size, "min_lr": min_scale * porting_tables.RATE, "eps": 0.0,
    }  # fmt: skip


TRANSLATIONS = {"keras": from_keras, "timm": from_timm, "optax": from_optax}
_RULES = ("ReduceLROnPlateau", "PlateauLRScheduler", "reduce_on_plateau")


def lines(library: str) -> Iterator[tuple[Settings, list[str]]]:
    """Yields the rows of a page that are about a plateau rule: its arguments, and our code."""
    for row in porting_tables.page(library).splitlines():
        cells = row.strip("|").split(" | ")
        theirs = re.fullmatch(r"`(.*)`", cells[0].strip())
        if not row.startswith("|") or not theirs or not theirs[1].startswith(_RULES):
            continue
        call = ast.parse(theirs[1], mode="eval").body
        if isinstance(call, ast.Call):
            given = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
            for place in call.args:
                if not isinstance(place, ast.Name):  # but for `optimizer`, Keras's monitor
                    given["monitor"] = ast.literal_eval(place)
            yield given, re.findall(r"`([^`]*)`", cells[1])


def rule(code: str) -> ReduceLROnPlateau:
    """Returns the callback that a line of ours makes."""
    return eval(code, {"ReduceLROnPlateau": ReduceLROnPlateau})
