"""A clock in the browser."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import ipywidgets

# How long the browser may be silent before it is asked to tick again.
_SILENCE = 2.0
_LATE = 0.5

# Clicks the clock's button, which may be drawn a little later than this.
_CLICK = """<img alt="{count}" src="data:," onerror="
  const begin = (tries) => {{
    const panel = this.closest('.keraslr-panel');
    const button = panel && panel.querySelector('.keraslr-clock button');
    if (button && !button.classList.contains('mod-active')) button.click();
    if (!button && tries) setTimeout(begin, 100, tries - 1);
  }};
  begin(50)">"""


class Clock(ipywidgets.Play):
    """Calls a function several times a second while it is on, by messages from the browser.

    A thread must not send updates to the page (Colab drops them), so a page that is to follow a
    running thread has to ask for news by itself. `Play` is the one core widget whose model counts
    in the browser; nobody sees it.

    The browser begins to count when it sees the clock being switched on. A page that is drawn
    later (a clock switched on in the cell that shows it, a page loaded again) misses that, so it
    is switched off and on again where no tick arrives.

    Under ipywidgets 7, which Colab has, the browser does not look at the switch but waits for a
    click on the button; the only widget whose page can click is `HTML`.

    Attributes:
        starter: What clicks, to be put into the same panel; it stays empty where none is needed.
    """

    def __init__(self, tick: Callable[[], None], interval: int = 200):
        super().__init__(min=0, max=2**31 - 1, interval=interval, layout={"display": "none"})
        # ipywidgets 7 has the trait with an underscore.
        self._clicked = not self.has_trait("playing")
        self._switch = "_playing" if self._clicked else "playing"
        self._tick, self._on, self._last, self._starts = tick, False, 0.0, 0
        self.starter = ipywidgets.HTML(layout={"display": "none"})
        self.add_class("keraslr-clock")
        self.observe(self._ticked, "value")

    @property
    def on(self) -> bool:
        """Whether it ticks, or waits for a browser to."""
        return self._on

    def start(self) -> None:
        """Switches it on; it may be on."""
        if not self._on:
            self._on, self._last = True, time.monotonic()
            self._switch_on()
            self._watch()

    def stop(self) -> None:
        """Switches it off; it may be off."""
        if self._on:
            self._on = False
            self._switch_off()

    def _switch_on(self) -> None:
        if self._clicked:
            self._starts += 1
            self.starter.value = _CLICK.format(count=self._starts)
        else:
            setattr(self, self._switch, True)

    def _switch_off(self) -> None:
        self.starter.value = ""
        setattr(self, self._switch, False)

    def _ticked(self, _: Any) -> None:
        self._last = time.monotonic()
        if self._on:
            self._tick()
        else:
            self._switch_off()  # the click may have come after it

    def _watch(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return  # no kernel: nobody looks
        loop.call_later(_SILENCE, self._look, loop, loop.time() + _SILENCE)

    def _look(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if not self._on:
            return
        # After a cell that took long, ticks that have arrived are still to be read. One more
        # switching on would have the browser count twice.
        late = loop.time() - due > _LATE
        if not late and time.monotonic() - self._last > _SILENCE:
            self._switch_off()
            self._switch_on()
        loop.call_later(_SILENCE, self._look, loop, loop.time() + _SILENCE)
