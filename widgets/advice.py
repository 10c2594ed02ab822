"""The panel that ranks strategies by what is known of the problem."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets

from keraslr.advice import Advice, advise, advise_optimizers, problems, questions
from keraslr.plotting import ScheduleChart
from keraslr.summary import summarize
from widgets.parts._panel import GOOD, Panel, columns, dispose, guarded
from widgets.parts._picture import Picture
from widgets.schedule import SchedulePanel, schedule_panel_or_none

__all__ = ["AdvicePanel"]

_UNKNOWN = "not known"
# Epochs for which the catalog's lengths are sized.
_EPOCHS = 30


class AdvicePanel(Panel):
    """Ranks strategies, with reasons, by data, model, task, sensitivity and loss.

    Attributes:
        advice: The strategies, best first.

    Args:
        schedule_panel: A `SchedulePanel` into which a click loads a strategy. None: the panel shows
            one of its own below.
        on_load: Called with the name of a strategy that was loaded.

    Raises:
        TypeError: An argument is of a wrong type; the error names it.
    """

    dom_class = "keraslr-advice-panel"

    def __init__(
        self,
        schedule_panel: SchedulePanel | None = None,
        on_load: Callable[[str], None] | None = None,
    ):
        super().__init__()
        self.advice: list[Advice] = []
        self._on_load = on_load
        given = schedule_panel_or_none(schedule_panel)
        self.schedule_panel = SchedulePanel() if given is None else given
        wide = {"style": {"description_width": "190px"}, "layout": _wide()}
        self.answers = {
            question: ipywidgets.Dropdown(
                options=[_UNKNOWN, *answers], description=question, **wide
            )
            for question, answers in questions().items()
        }
        self.problem = ipywidgets.Dropdown(
            options=[_UNKNOWN, *problems()],
            description="problem, for the optimizer", **wide,
        )  # fmt: skip
        self.chart = ScheduleChart((6.4, 3.4))
        self.picture = Picture(self.chart)
        self.ranking = ipywidgets.VBox(layout={"width": "100%"})
        self.optimizers = ipywidgets.HTML(layout={"width": "100%"})
        first = next(iter(self.answers.values()))
        first.value = first.options[-1]
        self.fill(
            [
                columns(*self.answers.values(), self.problem), self.message, self.ranking,
                self.optimizers, self.picture, *([self.schedule_panel] if given is None else []),
            ]
        )  # fmt: skip
        for widget in self.answers.values():
            widget.observe(self._rank, "value")
        self.problem.observe(self._rank_optimizers, "value")
        self._rank()
        self._rank_optimizers()

    @guarded
    def _rank(self, _: Any = None) -> None:
        given = {
            question: widget.value
            for question, widget in self.answers.items()
            if widget.value != _UNKNOWN
        }
        self.advice = advise(given)
        old = self.ranking.children
        self.ranking.children = [
            self._row(place, each) for place, each in enumerate(self.advice, start=1)
        ]
        dispose(*old)
        self._draw()
        self.say(
            ""
            if self.advice
            else "Say what is known of the problem, and suitable strategies are listed here."
        )

    @guarded
    def _rank_optimizers(self, _: Any = None) -> None:
        if self.problem.value == _UNKNOWN:
            self.optimizers.value = ""
            return
        names = ", ".join(map(html.escape, advise_optimizers(self.problem.value)))
        self.optimizers.value = f"Optimizers ({html.escape(self.problem.value)}): {names}."

    def _draw(self) -> None:
        """Draws the curves of the advised strategies, with the catalog's values."""
        curves = [
            (each.strategy.name, summarize(each.strategy.build(), _EPOCHS), 1)
            for each in self.advice
            if each.strategy.is_schedule
        ]
        self.picture.layout.display = "" if curves else "none"
        if curves:
            self.chart.draw(curves, unit="epoch")
            self.picture.show()

    def _row(self, place: int, advice: Advice) -> ipywidgets.HBox:
        strategy = advice.strategy
        reasons = "".join(f"<li>{html.escape(reason)}</li>" for reason in advice.reasons)
        text = ipywidgets.HTML(
            f"<b>{place}. {html.escape(strategy.label)}</b> &ndash; {html.escape(strategy.good)}."
            f'<ul style="margin: 0 0 0 18px; padding: 0">{reasons}</ul>'
            f"Beware: {html.escape(advice.caveat)}.",
            layout={"flex": "1 1 380px", "min_width": "260px"},
        )
        button = ipywidgets.Button(
            description="Load" if strategy.is_schedule else "Show the line",
            tooltip=f"Shows {strategy.name} in the schedule panel",
            layout={"width": "120px"},
        )
        button.on_click(lambda _: self._load(strategy))
        return ipywidgets.HBox(
            [button, text],
            layout={"width": "100%", "flex_flow": "row wrap", "margin": "0 0 8px 0"},
        )

    @guarded
    def _load(self, strategy: Any) -> None:
        if not strategy.is_schedule:
            self.say(
                f"{strategy.label} follows the metric and not the step, so it has no curve. It is "
                f"a callback of fit: keraslr.callbacks.{strategy.cls.__name__}"
                f"({_arguments(strategy)})."
            )
            return
        self.schedule_panel.load(strategy.name)
        self.say(f"{strategy.label} is in the schedule panel.", colour=GOOD)
        if self._on_load:
            self._on_load(strategy.name)


def _arguments(strategy: Any) -> str:
    return ", ".join(f"{name}={value.default!r}" for name, value in strategy.values.items())


def _wide() -> dict[str, str]:
    return {"width": "100%", "max_width": "460px"}
