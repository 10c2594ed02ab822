"""The data on the device: shared, freed, and gone through in pieces."""

from __future__ import annotations

import gc
import weakref

import keras
import numpy as np
import pytest
from small_runs import build_with_state, loop_of, noise, resident
from waiting import PATIENCE

from keraslr.models import lenet
from keraslr.training import LiveRun, Run, train
from keraslr.training._loop import Loop


def test_the_graphs_and_the_data_go_with_the_run(monkeypatch):
    """TensorFlow has ways to keep a graph for ever, and what the graph has captured with it."""
    kept, make = [], Loop.__init__

    def made(self, *arguments):
        make(self, *arguments)
        for each in (self, self._feed._shared, self._step, self._test, self._slice, self._piece):
            kept.append(weakref.ref(each))

    monkeypatch.setattr(Loop, "__init__", made)
    result = train(Run("it", 0.1, dataset=noise(), epochs=1))
    gc.collect()
    assert result.model is not None
    assert len(kept) == 6
    assert [each() for each in kept] == [None] * 6


def test_loops_on_one_dataset_share_what_is_on_the_device():
    data = noise()
    loops = [loop_of(Run("it", 0.1, dataset=each)) for each in (data, data, noise())]
    shared = [loop._feed._shared for loop in loops]
    assert shared[0] is shared[1]
    assert shared[0] is not shared[2]
    held = weakref.ref(shared[0])
    shared.clear()
    del loops[0]
    assert held() is not None
    loops.clear()
    gc.collect()
    assert held() is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["train", "live"])
def test_memory_stays_where_it_is_over_many_runs(kind, slices_of):
    """Of data as large as Fashion-MNIST, 45 MiB: a few steps of each."""
    slices_of(4)

    def run_once():
        run = Run("it", 0.01, model=build_with_state, dataset=noise(60_000, 10), epochs=1)
        if kind == "train":
            told = iter([False] * 3)
            result = train(run, should_stop=lambda: next(told, True))
        else:
            live = LiveRun(run, on_progress=lambda _: live.stop())
            live.start()
            assert live.wait(PATIENCE)
            result = live.result
        assert result.status == "stopped"
        assert result.loss

    memory = []
    for _ in range(6):
        run_once()
        gc.collect()
        memory.append(resident())
    # The first ones warm up. After that, a run that left its data would leave 45 MiB each time.
    assert memory[-1] - memory[3] < 45


def test_the_test_data_are_gone_through_in_pieces(slices_of):
    slices_of(1)
    data = noise(64, 2500)
    pieces = list(loop_of(Run("it", 0.1, dataset=data)).evaluate())
    assert pieces[:-1] == [None, None]
    model = lenet(seed=0)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    loss, accuracy = model.evaluate(data.x_test / np.float32(255), data.y_test, verbose=0)
    assert pieces[-1] == {
        "loss": pytest.approx(loss, rel=1e-5), "accuracy": pytest.approx(accuracy, abs=1e-6)
    }  # fmt: skip


def test_it_stops_between_these_pieces(slices_of):
    slices_of(1)
    seen = []
    # One step an epoch. It is told of an epoch when that was tested.
    run = Run("it", 0.1, dataset=noise(64, 2500), batch_size=64, epochs=5)
    result = train(
        run,
        on_progress=lambda done, steps, result: seen.append(result),
        should_stop=lambda: len(seen) == 1 and len(seen[0].loss) == 2,
    )
    assert result.status == "stopped"
    assert (len(result.loss), len(result.test_loss)) == (2, 1)
