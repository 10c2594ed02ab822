"""Are epochs that are not those of the schedule told, and is nothing told where all is right?"""

from __future__ import annotations

import keras
import numpy as np
import pytest
from by_epoch import Applied, Calls, stopping, told
from measured import QUICKLY, compiled, fit, not_on_torch, on_tensorflow, thinned, unit_vectors

import keraslr
from keraslr.callbacks import EpochSchedule, LearningRateLogger, ReduceLROnPlateau

SIZE = 8
BASE = keraslr.StepLR(0.08, step_size=1, gamma=0.5)
BY_EPOCH = BASE.per_epoch(SIZE)


def watching(rule=True):
    """Returns the callbacks that compare; the rule never reduces."""
    return [*([ReduceLROnPlateau("loss", patience=1000)] if rule else []), LearningRateLogger()]


def new(rate=BY_EPOCH, **arguments):
    return compiled(rate, SIZE, **{**QUICKLY, **arguments})


def run(model, *callbacks, last=SIZE, **arguments):
    return fit(model, 0, last, SIZE, callbacks=[*watching(), *callbacks], **arguments)


def agree(history, rows=None):
    """Asserts that the plateau's column, the logger's, and what was applied are the same."""
    logged = history.history["applied_learning_rate"]
    np.testing.assert_array_equal(
        np.float32(history.history["learning_rate"]), np.float32([float(each) for each in logged])
    )
    for row, rates in zip(rows or [], logged, strict=bool(rows)):
        np.testing.assert_allclose(row, list(rates), rtol=2e-5)


# Nothing is told where all is right


def go_on(model):
    run(model, epochs=2)
    agree(run(model, epochs=4, initial_epoch=2))


def an_epoch_at_a_time(model):
    for epoch in range(3):
        agree(run(model, epochs=epoch + 1, initial_epoch=epoch))


def a_new_optimizer_in_a_later_epoch(model):
    agree(run(model, epochs=5, initial_epoch=3))


def fine_tuning(model):
    run(model, epochs=2)
    model.compile(keras.optimizers.SGD(BY_EPOCH), "hinge", **QUICKLY)
    agree(run(model, epochs=4, initial_epoch=2))


def validation(model):
    x, y = unit_vectors(0, SIZE, SIZE)
    agree(run(model, epochs=2, validation_data=(x, y), validation_batch_size=2))
    agree(run(model, epochs=2, validation_data=(x, y), validation_freq=2))
    model.evaluate(x, y, batch_size=3, verbose=0)
    model.predict(x, verbose=0)
    agree(run(model))


def stopping_early(model):
    early = keras.callbacks.EarlyStopping("loss", patience=0, min_delta=10, start_from_epoch=1)
    agree(run(model, early, epochs=5))
    agree(run(model))


def weighted(model):
    x, y = unit_vectors(0, SIZE, SIZE)
    model.fit(x, y, batch_size=1, verbose=0, class_weight={-1: 0.5, 1: 1.0}, callbacks=watching())
    agree(run(model, sample_weight=np.full(SIZE, 0.5, "float32")))


def data_of_a_known_length(model):
    x, y = unit_vectors(0, SIZE, SIZE)

    class Data(keras.utils.PyDataset):
        def __len__(self):
            return SIZE

        def __getitem__(self, index):
            return x[index : index + 1], y[index : index + 1]

    agree(model.fit(Data(), epochs=2, verbose=0, callbacks=watching()))

    def batches():
        while True:
            for x, y in zip(*unit_vectors(0, SIZE, SIZE), strict=True):
                yield x[None], y[None]

    agree(model.fit(batches(), steps_per_epoch=SIZE, epochs=2, verbose=0, callbacks=watching()))


def a_whole_epoch_by_hand(model):
    for x, y in zip(*unit_vectors(0, SIZE, SIZE), strict=True):
        model.train_on_batch(x[None], y[None])
    agree(run(model, epochs=2, initial_epoch=1))


def weights_and_optimizer_of_another_model(model):
    other = new()
    run(other, epochs=2)
    model.optimizer.build(model.trainable_variables)
    for callback in watching():
        callback.set_model(model)
    model.set_weights(other.get_weights())
    model.optimizer.iterations.assign(other.optimizer.iterations)
    agree(run(model, epochs=4, initial_epoch=2))


RIGHT = [
    an_epoch_at_a_time, a_new_optimizer_in_a_later_epoch, fine_tuning, validation, stopping_early,
    weighted, data_of_a_known_length, a_whole_epoch_by_hand, weights_and_optimizer_of_another_model,
]  # fmt: skip


@pytest.mark.parametrize("program", thinned(RIGHT, every=4))
def test_a_right_program_is_told_nothing(program):
    with told() as texts:
        program(new())
    assert not texts


@pytest.mark.parametrize(
    "rate",
    thinned(
        {
            "keras": keras.optimizers.schedules.CosineDecay(0.02, 100),
            "warmed up in epochs": BASE.with_warmup(1).per_epoch(SIZE),
            "warmed up in steps": BY_EPOCH.with_warmup(SIZE),
        },
        every=2,
    ).items(),
    ids=lambda each: each[0],
)
def test_nothing_is_told_with_other_rates(rate):
    with told() as texts:
        go_on(new(rate[1]))
    assert not texts


@not_on_torch
@pytest.mark.parametrize("steps", [3, 20])
def test_nothing_is_told_of_executions_of_several_steps(steps):
    model, rows = new(steps_per_execution=steps), Applied()
    with told() as texts:
        agree(run(model, rows, epochs=3), rows.rows)
    assert not texts


def test_nothing_is_told_of_accumulated_gradients_in_a_clock_for_them():
    stretched = keraslr.StepLR(0.08, step_size=4, gamma=0.5).per_epoch(2)
    optimizer = keras.optimizers.SGD(BASE.per_epoch(SIZE), gradient_accumulation_steps=2)
    with told() as texts:
        fit(new(optimizer), 0, SIZE, SIZE, epochs=2, callbacks=watching()[:1])
        optimizer = keras.optimizers.SGD(stretched, gradient_accumulation_steps=2)
        fit(new(optimizer), 0, SIZE, SIZE, epochs=2, callbacks=watching()[:1])
    assert not texts


def test_nothing_is_told_of_steps_that_mixed_precision_skips():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        # Two steps are skipped in the first epoch, and none in the others.
        scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(BY_EPOCH), 2.0**17)
        model = new(scaled)
        with told() as texts:
            history = run(model, epochs=2)
            agree(history)
            agree(run(model, epochs=4, initial_epoch=2))
    finally:
        keras.config.set_dtype_policy("float32")
    assert not texts


# Epochs of another length


def test_an_epoch_of_another_length_is_told_with_both_numbers():
    with told() as texts:
        agree(run(new(), last=5, epochs=3))
    said = [text for text in texts if "has 5 steps" in text]
    assert len(said) == 1
    assert "per_epoch(8)" in said[0]
    assert "use per_epoch(5)" in said[0]
    assert "EpochSchedule" in said[0]


def test_another_batch_size_is_told_and_the_place_when_it_is_the_first_again():
    model = new()
    with told() as texts:
        run(model, epochs=2)
    assert not texts
    with told() as texts:
        agree(run(model, batch_size=4, epochs=4, initial_epoch=2))
    assert any("this fit has 2 steps, but the schedule has per_epoch(8)" in text for text in texts)
    with told() as texts:
        agree(run(model, epochs=5, initial_epoch=4))
    said = [text for text in texts if "epoch 4 begins at step 32" in text]
    assert len(said) == 1
    for part in ("counter stands at 20", "12 steps behind", "iterations.assign(32)"):
        assert part in said[0]


@pytest.mark.parametrize("way", ["initial_epoch", "from zero"])
def test_an_epoch_that_was_stopped_in_its_midst_is_told_with_the_remedy(way):
    model = new()
    with pytest.raises(KeyboardInterrupt), told():
        run(model, stopping(1, 2), epochs=4)
    assert int(model.optimizer.iterations) == 11
    again = {"epochs": 3, "initial_epoch": 1} if way == "initial_epoch" else {"epochs": 2}
    with told() as texts:
        agree(run(model, **again))
    assert len(texts) == 1
    assert "iterations.assign(8)" in texts[0]
    assert "3 steps" in texts[0]


def test_the_remedy_is_one():
    model = new()
    with pytest.raises(KeyboardInterrupt), told():
        run(model, stopping(1, 2), epochs=4)
    model.optimizer.iterations.assign(8)
    rows = Applied()
    with told() as texts:
        agree(run(model, rows, epochs=3, initial_epoch=1), rows.rows)
    assert not texts
    np.testing.assert_allclose([row[0] for row in rows.rows], [0.04, 0.02], rtol=1e-5)


def test_a_backup_within_an_epoch_is_told(tmp_path):
    def once(*callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", save_freq=3)
        return run(new(), backup, *callbacks, epochs=4)

    with pytest.raises(KeyboardInterrupt), told() as texts:
        once(stopping(1, 5))
    assert not texts
    with told() as texts:
        once()
    assert len(texts) == 1
    assert "BackupAndRestore(save_freq=...), 4 steps into this epoch" in texts[0]


def test_a_backup_at_an_epochs_end_is_well(tmp_path):
    def once(*callbacks):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return run(new(), backup, *callbacks, epochs=4)

    with told() as texts:
        with pytest.raises(KeyboardInterrupt):
            once(stopping(2, 5))
        agree(once())
    assert not texts


def test_a_clock_in_epochs_needs_no_such_words():
    model = new(0.5)
    with told() as texts:
        with pytest.raises(KeyboardInterrupt):
            run(model, EpochSchedule(BASE), stopping(1, 2), epochs=4)
        agree(run(model, EpochSchedule(BASE), epochs=3, initial_epoch=1))
        agree(run(model, EpochSchedule(BASE), epochs=5, initial_epoch=3, batch_size=2))
    assert not texts


# Data of unknown length


def unknown(kind):
    import tensorflow as tf

    x, y = unit_vectors(0, SIZE, SIZE)
    if kind == "from_generator":
        spec = (tf.TensorSpec((None, SIZE)), tf.TensorSpec((None, 1)))
        return tf.data.Dataset.from_generator(
            lambda: ((x[n : n + 1], y[n : n + 1]) for n in range(SIZE)), output_signature=spec
        )
    return tf.data.Dataset.from_tensor_slices((x, y)).filter(lambda x, y: True).batch(1)


def on_unknown(model, kind, *callbacks, rule=True, **arguments):
    return model.fit(unknown(kind), verbose=0, callbacks=[*watching(rule), *callbacks], **arguments)


@on_tensorflow
@pytest.mark.parametrize(
    ("kind", "rate"),
    [("from_generator", BY_EPOCH), ("filter", BASE.per_epoch(1))],
)
def test_the_step_that_meets_the_end_is_told_in_the_first_epoch(kind, rate):
    with told() as texts:
        on_unknown(new(rate), kind, epochs=1)
    assert len(texts) == 1
    for part in ("had 8 steps", "rose by 9", "assert_cardinality(8)", "EpochSchedule"):
        assert part in texts[0]


@on_tensorflow
@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        (False, {}),
        (True, {"steps_per_execution": 3}),
        (True, {"run_eagerly": True}),
        (True, {"jit_compile": True}),
    ],
    ids=["graph", "executions of 3", "eager", "xla"],
)
def test_the_log_shows_what_was_applied_to_data_of_unknown_length(rule, arguments):
    schedule = keraslr.ExponentialLR(0.02, gamma=0.97)
    model, rows = new(schedule, **arguments), Applied()
    with told():
        history = on_unknown(model, "filter", rows, rule=rule, epochs=3)
    if rule:
        agree(history, rows.rows)
    logged = history.history["applied_learning_rate"]
    planned = history.history["planned_learning_rate"]
    assert [len(list(each)) for each in logged] == [SIZE] * 3
    for row, rates in zip(rows.rows, logged, strict=True):
        np.testing.assert_allclose(row, list(rates), rtol=2e-5)
    # A schedule in steps has no other plan than the counter's; it is said that this runs ahead.
    for row, rates in zip(logged, planned, strict=True):
        np.testing.assert_allclose(list(rates), list(row), rtol=1e-6)


@on_tensorflow
def test_the_plan_of_a_schedule_in_epochs_does_not_follow_a_counter_that_runs_ahead():
    schedule = keraslr.StepLR(0.02, step_size=1, gamma=0.5).per_epoch(SIZE)
    model, rows = new(schedule), Applied()
    with told():
        history = on_unknown(model, "filter", rows, rule=False, epochs=3).history
    planned = [list(each) for each in history["planned_learning_rate"]]
    np.testing.assert_allclose(planned, schedule.values(3 * SIZE).reshape(3, SIZE), rtol=1e-6)
    np.testing.assert_allclose(
        rows.rows, [list(each) for each in history["applied_learning_rate"]], rtol=2e-5
    )
    assert len({*rows.rows[2]}) == 2  # where one was planned


@on_tensorflow
def test_a_constant_rate_on_data_of_unknown_length_is_well():
    with told() as texts:
        agree(on_unknown(new(0.01), "filter", epochs=3))
    assert not texts


@on_tensorflow
def test_the_remedies_for_data_of_unknown_length_are_some():
    import tensorflow as tf

    with told() as texts:
        for data, arguments in (
            (unknown("filter").apply(tf.data.experimental.assert_cardinality(SIZE)), {}),
            (unknown("from_generator").repeat(), {"steps_per_epoch": SIZE}),
        ):
            rows = Applied()
            history = new().fit(
                data, epochs=3, verbose=0, callbacks=[*watching(), rows], **arguments
            )
            agree(history, rows.rows)
            np.testing.assert_allclose(
                np.concatenate(rows.rows), np.repeat([0.08, 0.04, 0.02], SIZE), rtol=2e-5
            )
    assert not texts


@on_tensorflow
def test_the_length_of_such_data_is_compared_at_the_epochs_end():
    with told() as texts:
        on_unknown(new(BASE.per_epoch(5)), "filter", epochs=1)
    assert any("has 8 steps, but the schedule has per_epoch(5)" in text for text in texts)
    assert any("rose by 9" in text for text in texts)


@on_tensorflow
def test_data_of_another_length_in_each_epoch_are_logged_right():
    import tensorflow as tf

    x, y = unit_vectors(0, SIZE, SIZE)
    lengths = iter([4, 5, 3, 4, 5])

    def batches():
        for n in range(next(lengths)):
            yield x[n : n + 1], y[n : n + 1]

    spec = (tf.TensorSpec((None, SIZE)), tf.TensorSpec((None, 1)))
    data = tf.data.Dataset.from_generator(batches, output_signature=spec)
    rows = Applied()
    with told():
        model = new(keraslr.ExponentialLR(0.02, gamma=0.97))
        history = model.fit(data, epochs=5, verbose=0, callbacks=[*watching(), rows])
    assert [len(row) for row in rows.rows] == [4, 5, 3, 4, 5]
    agree(history, rows.rows)


# What the logger names as the cause


def test_a_reduction_at_each_step_is_named_as_that():
    # An epoch of one step: the rule has reduced again before the step is read.
    x, y = unit_vectors(0, SIZE, SIZE)
    rule = ReduceLROnPlateau("loss", factor=0.5, patience=0, threshold=1e6, threshold_mode="abs")
    with told() as texts:
        new(0.01).fit(
            x, y, batch_size=SIZE, epochs=5, verbose=0, callbacks=[rule, LearningRateLogger()]
        )
    assert len(texts) == 1
    assert "is 0.005, where 0.01 was planned: ReduceLROnPlateau" in texts[0]


def test_weights_that_are_loaded_in_the_midst_of_fit_put_the_count_back(tmp_path):
    path, rows = tmp_path / "run.weights.h5", Applied()
    save = Calls("on_epoch_end", 1, lambda model: model.save_weights(path))
    load = Calls("on_epoch_end", 3, lambda model: model.load_weights(path))
    schedule = keraslr.ExponentialLR(0.02, gamma=0.97)
    with told() as texts:
        history = run(new(schedule), rows, save, load, epochs=6)
        agree(history)
    assert not texts
    logged = [list(each) for each in history.history["applied_learning_rate"]]
    assert [len(each) for each in logged] == [SIZE] * 6
    assert logged[4] == logged[2]
    np.testing.assert_allclose(rows.rows[4], logged[4], rtol=2e-5)


@pytest.mark.parametrize("rule", [True, False], ids=["plateau", "logger"])
def test_weights_that_put_the_schedules_epochs_back_are_told(tmp_path, rule):
    path = tmp_path / "run.weights.h5"
    save = Calls("on_epoch_end", 0, lambda model: model.save_weights(path))
    load = Calls("on_epoch_end", 1, lambda model: model.load_weights(path))
    schedule = keraslr.StepLR(0.02, step_size=1, gamma=0.5).per_epoch(SIZE)
    watch = ReduceLROnPlateau("loss") if rule else LearningRateLogger()
    model = new(schedule)
    with told() as texts:
        fit(model, 0, SIZE, SIZE, epochs=4, callbacks=[watch, save, load])
    (text,) = texts
    assert f"counter went from {2 * SIZE} to {SIZE} before epoch 2" in text
    assert f"iterations.assign({2 * SIZE})" in text
