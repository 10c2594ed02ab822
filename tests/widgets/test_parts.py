"""What panels are made of, without a browser."""

from __future__ import annotations

import sys
import threading
import types

import numpy as np
import pytest
from panels import text
from waiting import PATIENCE

import keraslr
from widgets.parts import _rerun
from widgets.parts._clock import Clock
from widgets.parts._controls import assign, number, slider
from widgets.parts._event_block import EventBlock
from widgets.parts._panel import Panel, guarded
from widgets.parts._run_settings import dataset_control, size_control
from widgets.parts._worker import Worker
from widgets.parts._working_panel import WorkingPanel


@pytest.mark.parametrize(
    ("value", "low", "high"), [(0.05, 1e-4, 1.0), (0.1, 1e-4, 1.0), (37.0, 1e-2, 100.0)]
)
def test_a_slider_keeps_the_value_that_it_was_given(value, low, high):
    """The page moves it to the nearest stop, and says so."""
    control = slider(keraslr.catalog.Range(low, high, value, log=True))
    stop = 10 ** (control.min + round((np.log10(value) - control.min) / 0.01) * 0.01)
    control.value = stop
    assert number(control) == value
    control.value = stop * 10**0.01
    assert number(control) == pytest.approx(stop * 10**0.01)
    assign(control, 5 * high)
    assert control.max >= np.log10(5 * high) - 1e-9
    assert number(control) == 5 * high


def test_an_error_in_a_handler_is_a_message():
    class Broken(Panel):
        dom_class = "keraslr-broken-panel"

        @guarded
        def go(self):
            raise ValueError("rate must be > 0. Received: <b>")

    panel = Broken()
    panel.go()
    assert text(panel.message) == "rate must be > 0. Received: <b>"
    assert "<b>" not in panel.message.value


def test_a_clock_ticks_only_while_it_is_on():
    ticks = []
    clock = Clock(lambda: ticks.append(1))
    clock.value += 1
    assert ticks == []
    clock.start()
    clock.start()
    assert getattr(clock, clock._switch)
    clock.value += 1
    assert ticks == [1]
    clock.stop()
    clock.stop()
    assert not getattr(clock, clock._switch)
    clock.value += 1
    assert ticks == [1]


def a_cell(monkeypatch, cell, execution, code="panel"):
    """Pretends that this cell is being run."""
    parent = {
        "header": {"msg_id": execution, "msg_type": "execute_request"},
        "metadata": {"cellId": cell} if cell else {},
        "content": {"code": code},
    }
    kernel = types.SimpleNamespace(get_parent=lambda channel: parent)
    shell = types.SimpleNamespace(kernel=kernel)
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize("cell", ["a", None], ids=["named", "unnamed"])
def test_a_cell_run_again_stops_what_it_made_before(monkeypatch, cell):
    class Work:
        stopped = False

        def stop(self):
            self.stopped = True

    first, second, again, other = Work(), Work(), Work(), Work()
    a_cell(monkeypatch, cell, "1")
    _rerun.stop_earlier_panels(first)
    _rerun.stop_earlier_panels(second)
    assert not first.stopped
    a_cell(monkeypatch, cell and "b", "2", code="other")
    _rerun.stop_earlier_panels(other)
    a_cell(monkeypatch, cell, "3")
    _rerun.stop_earlier_panels(again)
    assert [each.stopped for each in (first, second, other, again)] == [True, True, False, False]


def test_what_a_panel_sets_is_one_change():
    drawn = []
    block = EventBlock(lambda: drawn.append(block.active))
    with block:
        assert block.active
        with block:
            pass
        assert drawn == []
    assert drawn == [False]
    with pytest.raises(OSError, match="lost"), block:
        raise OSError("lost")
    assert drawn == [False, False]
    assert not block.active


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("epochs", 0, "epochs must be an integer >= 1"),
        ("batch_size", "64", "batch_size must be an integer"),
        ("seed", -1, "seed must be an integer >= 0"),
    ],
)
def test_a_size_that_is_none_is_refused(name, value, said):
    with pytest.raises((TypeError, ValueError), match=said):
        size_control(name, value)


def test_a_size_is_the_one_asked_for():
    assert size_control("epochs").value == 30
    assert size_control("epochs", 500).value == 500
    assert size_control("dataset_size", 10).description == "training examples"
    with pytest.raises(ValueError, match='dataset must be one of "auto", "fashion_mnist"'):
        dataset_control("mnist")


class Counting(Worker):
    """Counts until it is stopped or told to break."""

    def __init__(self):
        super().__init__("counting")
        self.count, self.broken = 0, threading.Event()

    def _work(self):
        while not self.broken.wait(0.001):
            self.count += 1
            self._end_if_stopped()
        raise OSError("the disk is full")


def test_a_worker_is_stopped_twice_and_keeps_its_record():
    worker = Counting()
    assert not worker.under_way
    assert worker.seconds == 0
    assert not worker.wait(0)
    worker.start()
    worker.start()
    assert worker.under_way
    while not worker.count:
        assert not worker.wait(0.001)
    worker.stop()
    worker.stop()
    assert worker.wait(PATIENCE)
    worker.stop()
    assert not worker.under_way
    assert worker.error is None
    count, seconds = worker.count, worker.seconds
    worker.start()
    assert (worker.count, worker.seconds) == (count, seconds)


class Watching(WorkingPanel):
    dom_class = "keraslr-watching-panel"

    def __init__(self, worker):
        super().__init__()
        self.worker, self.shown = worker, []
        self.at_close(self.stop)

    def stop(self):
        self.worker.stop()

    def _current_work(self):
        return self.worker

    def _show_work(self, over):
        self.shown.append(over)
        if over and self.worker.error is not None:
            self.say_error(self.worker.error)


def test_a_panel_watches_its_work_to_the_end():
    worker = Counting()
    panel = Watching(worker)
    worker.start()
    panel.clock.start()
    panel.clock.value += 1
    assert panel.shown == [False]
    assert panel.under_way
    worker.broken.set()
    panel._block()
    assert panel.shown[-1] is True
    assert text(panel.message) == "the disk is full"
    assert not panel.clock.on


def test_ctrl_c_stops_the_work_that_a_cell_waits_for(monkeypatch):
    worker = Counting()
    panel = Watching(worker)
    worker.start()

    def interrupted(timeout=None):
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(worker, "wait", interrupted)
    panel._block()
    assert not worker.under_way
    assert panel.shown == [True]


def test_a_closed_panel_stops_its_work_and_may_be_closed_twice():
    worker = Counting()
    panel = Watching(worker)
    worker.start()
    panel.clock.start()
    panel.close()
    panel.close()
    assert worker.wait(PATIENCE)
    assert not panel.clock.on
