"""Controls made from a parameter's declaration and the catalog's values."""

from __future__ import annotations

import ast
import math
from typing import Any

import ipywidgets

from keraslr._parameters import (
    MAX_TICKS,
    Choice,
    Flag,
    Number,
    Optional,
    Parameter,
    Several,
)
from keraslr.catalog import Fixed, Range

# ipywidgets 7 has another name for the trait.
_TOOLTIP = "tooltip" if hasattr(ipywidgets.IntSlider, "tooltip") else "description_tooltip"

STYLE = {"description_width": "136px"}


def wide() -> dict[str, str]:
    """Returns the layout of a control in a column: the full width, up to a limit."""
    return {"width": "100%", "max_width": "420px"}


def shared(name: str, tooltip: str = "") -> dict[str, Any]:
    """Returns the settings that all controls of a column share."""
    described = {"description": name, "style": dict(STYLE), "layout": wide()}
    return described | ({_TOOLTIP: tooltip} if tooltip else {})


def control(name: str, parameter: Parameter, value: Range | Fixed) -> ipywidgets.Widget | None:
    """Returns a control for a parameter; None if its values cannot be edited by hand."""
    common = shared(name, f"{parameter.meaning} {parameter.rule}.")
    inner = parameter.inner if isinstance(parameter, Optional) else parameter
    match inner:
        case Flag():
            return ipywidgets.Checkbox(value=value.default, indent=True, **common)
        case Choice(options=options):
            return ipywidgets.Dropdown(options=options, value=value.default, **common)
        case Number() if isinstance(value, Range):
            return slider(value, whole=inner.kind is int, **common)
        case Number(kind=kind) if kind is int:
            return ipywidgets.BoundedIntText(value=value.default, min=0, max=MAX_TICKS, **common)
        case Several(item=Number()):
            shown = ", ".join(map(str, value.default))
            if len(value.default) <= 10:
                return ipywidgets.Text(value=shown, continuous_update=False, **common)
            return ipywidgets.Textarea(value=shown, rows=4, continuous_update=False, **common)
    return None


def slider(value: Range, *, whole: bool = False, **common: Any) -> ipywidgets.Widget:
    """Returns a slider over a range; equal moves are equal factors if the range is logarithmic.

    Moves are sent during a drag, so that the picture follows. The page waits until a move has been
    handled, and then sends only the latest.
    """
    low, high, default = value.low, value.high, value.default
    if whole:
        return ipywidgets.IntSlider(value=default, min=int(low), max=int(high), **common)
    common["readout_format"] = ".3g"
    if value.log:
        widget = ipywidgets.FloatLogSlider(
            value=default, min=math.log10(low), max=math.log10(high), step=0.01, **common
        )
    else:
        widget = ipywidgets.FloatSlider(
            value=default, min=low, max=high, step=_round_step((high - low) / 200), **common
        )
    widget.exact = default
    return widget


def _round_step(step: float) -> float:
    """Returns 1, 2 or 5 times a power of ten near the step, so that round values have a stop."""
    power = 10.0 ** math.floor(math.log10(step))
    return min((1.0, 2.0, 5.0, 10.0), key=lambda each: abs(each * power - step)) * power


def number(widget: ipywidgets.Widget) -> Any:
    """Returns the number that a slider is set to.

    The page moves a slider to its nearest stop and reports that: 0.05 comes back as 0.0501. While
    the slider is at that stop, the value that it was set to counts.
    """
    exact, value = getattr(widget, "exact", None), widget.value
    if exact is None:
        return value
    if isinstance(widget, ipywidgets.FloatLogSlider):
        off = abs(math.log10(value) - math.log10(exact)) if exact > 0 else math.inf
    else:
        off = abs(value - exact)
    return exact if off <= 0.501 * widget.step else value


def assign(widget: ipywidgets.Widget, value: float) -> None:
    """Sets a slider, and widens its range if the value lies outside."""
    if isinstance(widget, ipywidgets.FloatLogSlider):
        exponent = math.log10(value)
        widget.min, widget.max = min(widget.min, exponent), max(widget.max, exponent)
    elif hasattr(widget, "max"):
        widget.min, widget.max = min(widget.min, value), max(widget.max, value)
    if hasattr(widget, "exact"):
        widget.exact = value
    widget.value = value


def read(name: str, widget: ipywidgets.Widget) -> Any:
    """Returns the value of a control.

    Raises:
        ValueError: The text is no list of numbers; the error names the parameter.
    """
    if not isinstance(widget, ipywidgets.Text | ipywidgets.Textarea):
        return number(widget)
    try:
        return tuple(ast.literal_eval(f"({widget.value},)")) if widget.value.strip() else ()
    except (SyntaxError, ValueError):
        raise ValueError(
            f"{name} must be numbers separated by commas. Received: {widget.value!r}"
        ) from None
