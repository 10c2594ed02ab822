"""The base of all panels: a box with a message line, whose handlers raise no traceback."""

from __future__ import annotations

import base64
import functools
import html
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import ipywidgets

from widgets.parts._picture import Picture

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

ERROR, GOOD, PLAIN = "#b00020", "#1b6e3c", "inherit"

# In every panel, because a page may hold any one of them.
_CSS = """<style>
.keraslr-panel { max-width: 1120px; }
.keraslr-panel .widget-html-content { min-width: 0; }
.keraslr-panel .widget-label { overflow: hidden; text-overflow: ellipsis; }
.keraslr-panel .lm-TabBar .lm-TabBar-tab, .keraslr-panel .p-TabBar .p-TabBar-tab {
  min-width: max-content !important; }
.keraslr-message .widget-html-content { line-height: 1.45; min-height: 1.45em; }
.keraslr-panel table.keraslr-table { border-collapse: collapse; font-size: 13px; }
.keraslr-panel table.keraslr-table td, .keraslr-panel table.keraslr-table th {
  padding: 2px 10px 2px 0; text-align: left; white-space: nowrap; line-height: 1.5; }
.keraslr-panel table.keraslr-table td.number, .keraslr-panel table.keraslr-table th.number {
  text-align: right; font-variant-numeric: tabular-nums; }
.keraslr-panel .keraslr-scroll { overflow-x: auto; }
.keraslr-panel pre { white-space: pre-wrap; overflow-wrap: anywhere; line-height: 1.4;
  font-size: 12px; padding: 8px; margin: 2px 0 8px; border: 1px solid rgba(128, 128, 128, .35);
  border-radius: 4px; }
</style>"""


class Panel(ipywidgets.VBox):
    """A box of controls with a picture.

    Attributes:
        dom_class: Class of its element on the page.
        picture: The picture that it shows.
        message: The line that shows errors and results.
        lock: Held while a handler runs, because messages of the page may arrive in another thread
            than that of the cells.
    """

    dom_class: ClassVar[str]
    picture: Picture

    # In the class, because ipywidgets also closes a panel whose constructor has raised.
    _endings: tuple[Callable[[], None], ...] = ()

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.message = ipywidgets.HTML(layout={"width": "100%"})
        self.message.add_class("keraslr-message")
        super().__init__(layout={"width": "auto"})
        self.add_class("keraslr-panel")
        self.add_class(self.dom_class)

    def fill(self, children: Sequence[ipywidgets.Widget]) -> None:
        """Sets the widgets that the panel shows."""
        self.children = [ipywidgets.HTML(_CSS, layout={"display": "none"}), *children]

    def _repr_mimebundle_(self, **keywords: Any) -> Any:
        """Returns what a notebook shows: the panel or, without a kernel, its picture."""
        bundle = super()._repr_mimebundle_(**keywords)
        if bundle:
            bundle["image/png"] = base64.b64encode(self.picture.value).decode()
        return bundle

    def at_close(self, ending: Callable[[], None]) -> None:
        """Adds a function that `close` calls, those added last first."""
        self._endings += (ending,)

    def close(self) -> None:
        """Stops what runs, and takes the panel and all it holds off the page."""
        endings, self._endings = self._endings, ()
        for ending in reversed(endings):
            ending()
        dispose(*self.children)
        super().close()

    def say(self, *lines: str, colour: str = PLAIN) -> None:
        """Replaces the message; each line is text, not HTML."""
        text = "<br>".join(html.escape(line) for line in lines if line)
        shown = f'<span style="color: {colour}">{text}</span>' if text else ""
        if self.message.value != shown:
            self.message.value = shown

    def say_error(self, error: BaseException) -> None:
        """Shows an error in the message line."""
        self.say(str(error) or type(error).__name__, colour=ERROR)


def guarded(handler: _Handler) -> _Handler:
    """Decorates a panel's handler: it holds the lock, and shows an error as the message."""

    @functools.wraps(handler)
    def wrapper(self: Panel, *arguments: Any, **keywords: Any) -> Any:
        with self.lock:
            try:
                return handler(self, *arguments, **keywords)
            except Exception as error:  # the person sees it, whatever it is
                self.say_error(error)
                return None

    return wrapper  # type: ignore[return-value]


def dispose(*widgets: ipywidgets.Widget) -> None:
    """Closes widgets that are no longer shown, with everything in them."""
    for widget in widgets:
        dispose(*getattr(widget, "children", ()))
        widget.close()


def columns(*children: ipywidgets.Widget) -> ipywidgets.HBox:
    """Returns a box of children side by side, which wraps where the page is narrow."""
    return ipywidgets.HBox(
        list(children), layout={"flex_flow": "row wrap", "grid_gap": "2px 24px", "width": "100%"}
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 1) -> str:
    """Returns an HTML table of HTML cells; columns from index `numbers` on hold numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        inner = "".join(
            f"<{tag}{' class=number' if index >= numbers else ''}>{cell}</{tag}>"
            for index, cell in enumerate(cells)
        )
        return f"<tr>{inner}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return (
        f'<div class="keraslr-scroll"><table class="keraslr-table">{line(head, "th")}{body}'
        "</table></div>"
    )
