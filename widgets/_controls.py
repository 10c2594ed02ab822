"""Controls made from a parameter's declaration and the catalog's sensible values."""

from __future__ import annotations

import ast
from typing import Any

import ipywidgets

from keraslr.catalog import Fixed, Range
from keraslr.schedules._parameters import Choice, Flag, Number, Optional, Parameter, Several

STYLE = {"description_width": "140px"}
LAYOUT = {"width": "420px"}


def control(name: str, parameter: Parameter, value: Range | Fixed) -> ipywidgets.Widget | None:
    """A control for a parameter; None where a value cannot be edited by hand."""
    shared: dict[str, Any] = {
        "description": name,
        "tooltip": f"{parameter.meaning} {parameter.rule}.",
        "style": STYLE,
        "layout": LAYOUT,
    }
    inner = parameter.inner if isinstance(parameter, Optional) else parameter
    match inner:
        case Flag():
            return ipywidgets.Checkbox(value=value.default, indent=True, **shared)
        case Choice(options=options):
            return ipywidgets.Dropdown(options=options, value=value.default, **shared)
        case Number() if isinstance(value, Range):
            return _slider(inner.kind is int, value, shared)
        case Several(item=Number()) if len(value.default) <= 10:
            shown = ", ".join(map(str, value.default))
            return ipywidgets.Text(value=shown, continuous_update=False, **shared)
    return None


def _slider(whole: bool, value: Range, shared: dict[str, Any]) -> ipywidgets.Widget:
    # Moves are sent while the hand is still moving: the picture follows it.
    if whole:
        return ipywidgets.IntSlider(
            value=value.default, min=int(value.low), max=int(value.high), **shared
        )
    if value.log:
        from math import log10

        return ipywidgets.FloatLogSlider(
            value=value.default, min=log10(value.low), max=log10(value.high), step=0.01,
            readout_format=".3g", **shared,
        )  # fmt: skip
    return ipywidgets.FloatSlider(
        value=value.default, min=value.low, max=value.high, step=(value.high - value.low) / 200,
        readout_format=".3g", **shared,
    )  # fmt: skip


def read(name: str, widget: ipywidgets.Widget) -> Any:
    """What a control says.

    Raises:
        ValueError: A list of numbers that is none; the error names the parameter.
    """
    if not isinstance(widget, ipywidgets.Text):
        return widget.value
    try:
        return tuple(ast.literal_eval(f"({widget.value},)")) if widget.value.strip() else ()
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{name} must be numbers with commas between. Received: {widget.value!r}"
        ) from None
