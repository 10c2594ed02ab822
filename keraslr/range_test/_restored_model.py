"""Training of a model for some steps, after which the model is restored."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keraslr.optimizers._tracked import names_of, tracked_optimizers
from keraslr.range_test._stand_ins import StandIns
from keraslr.training._step import compiled_step, logs_of

# Steps of an eager train step after which an optimizer that was not applied counts as unused: it
# may be applied every few steps. A graph shows it before the first step.
_ENOUGH = 10


@contextlib.contextmanager
def trained_and_restored(
    model: keras.Model,
    batch: Any,
    optimizer: keras.Optimizer | str | list[Any] | None = None,
    monitor: str = "loss",
) -> Iterator[Steps]:
    """Yields the steps of a test. At the end the model is restored."""
    distribution_strategy = model.distribute_strategy
    kept: list[tuple[Any, np.ndarray]] = []
    stop_training = model.stop_training
    named = tracked_optimizers(model)
    raised = chosen(model, named, optimizer)
    stand_ins = StandIns(model.trainable_variables if model.built else ())

    def trained(data: Any) -> dict[str, Any]:
        logs = logs_of(distribution_strategy.run(model.train_step, args=(data,)), "train_step")
        if monitor not in logs:
            raise _unknown(monitor, logs)
        return {"loss": distribution_strategy.reduce("MEAN", logs[monitor], axis=None)}

    def remember(next_creator: Any, **arguments: Any) -> Any:
        variable = next_creator(**arguments)
        kept.append((variable, variable.numpy()))
        return variable

    def put_back() -> None:
        stand_ins.put_back()
        model.stop_training = stop_training
        for variable, value in kept:
            variable.assign(value)

    try:
        with distribution_strategy.scope():
            groups = {name: stand_ins.begin_anew(each) for name, each in raised.items()}
            for each in named.values():
                stand_ins.go_on(each)
        # A separate graph, so that the model keeps its own.
        step, making = compiled_step(model, trained, "train_step"), contextlib.nullcontext()
        if model.run_eagerly:
            # Variables of parts that are not built yet are created during the first step.
            making = tf.variable_creator_scope(remember)
        else:
            # Tracing creates the variables of parts that are not built yet, and trains nothing.
            step.get_concrete_function(keras.tree.map_structure(_tensor, batch))
        steps = Steps(model, step, named, groups, stand_ins, optimizer)
        if not model.run_eagerly:
            steps.require_applied()
        steps.keep_ratios()
        for each in (*model.variables, *model.metrics_variables):
            kept.append((each.value, each.value.numpy()))
        with making:
            yield steps
        steps.require_applied()
    finally:
        interrupted = None
        while True:
            try:
                put_back()
                break
            except KeyboardInterrupt as error:  # a second Ctrl-C: restore again, then raise
                interrupted = error
        if interrupted is not None:
            raise interrupted


class Steps:
    """The steps of a range test: a call trains one and returns the mean loss of its batches.

    Args:
        model: The model.
        step: Its compiled step.
        named: The optimizers that it tracks, by their names.
        groups: The groups of each optimizer whose rates rise, by its name.
        stand_ins: What stands in for the optimizers.
        asked_for: What the caller asked for as `optimizer`.
    """

    def __init__(
        self,
        model: keras.Model,
        step: Any,
        named: Mapping[str, keras.Optimizer],
        groups: Mapping[str, list[keras.Optimizer]],
        stand_ins: StandIns,
        asked_for: Any,
    ):
        self._model, self._step, self._named = model, step, named
        self._groups, self._stand_ins, self._asked_for = groups, stand_ins, asked_for
        self._ratios: list[tuple[keras.Optimizer, float]] = []
        self._done = 0

    def keep_ratios(self) -> None:
        """Fixes the ratios of the rates: the first group that is applied has 1."""
        raised = [each for groups in self._groups.values() for each in groups]
        raised = list({id(each): each for each in raised}.values())
        if self._stand_ins.applied:  # a group without variables is not
            raised.sort(key=lambda each: not self._stand_ins.was_applied(each))
        reference = self._stand_ins.present_rate(raised[0])
        if len(raised) > 1 and not reference > 0:
            raise ValueError(
                "optimizer must have a rate > 0 for the rates of others to keep their ratio to it: "
                "set its learning_rate to a number first, or pass optimizer= with another one in "
                f"front. Received: {raised[0].name!r} with a rate of {reference}"
            )
        self._ratios = [(raised[0], 1.0)] + [
            (each, self._stand_ins.present_rate(each) / reference) for each in raised[1:]
        ]

    def __call__(self, rate: float, batches: Iterator[Any]) -> float:
        for each, ratio in self._ratios:
            # A variable rather than a schedule: a schedule would follow the optimizer's counter,
            # which does not advance when mixed precision skips a step.
            each.learning_rate = rate * ratio
        losses = []
        every = [each.gradient_accumulation_steps or 1 for each, _ in self._ratios]
        for _ in range(math.lcm(*every)):
            self._model.reset_metrics()  # or the loss would be the mean since the first step
            data = keras.tree.map_structure(_tensor, next(batches))
            losses.append(float(self._step(data)["loss"]))
        self._done += 1
        if self._done == _ENOUGH:
            self.require_applied()
        return float(np.mean(losses))

    @property
    def raised(self) -> tuple[tuple[str, float], ...]:
        """Name and ratio of each optimizer whose rate rose; empty if the model has only one."""
        applied = {id(each) for each in self._stand_ins.applied}
        if len(applied) < 2:
            return ()
        names = {id(each): name for name, each in self._named.items() if name != "optimizer"}
        return tuple(
            (names.get(id(each), each.name), float(f"{ratio:.6g}"))
            for each, ratio in self._ratios
            if id(each) in applied
        )

    def require_applied(self) -> None:
        """Raises a `ValueError` unless the train step applies each optimizer that was chosen.

        The curve would be that of rates that nothing uses.
        """
        unused = [
            name
            for name, groups in self._groups.items()
            if not any(map(self._stand_ins.was_applied, groups))
        ]
        if not unused:
            return
        applied = names_of(self._named, self._stand_ins.applied)
        if not applied:
            raise ValueError(
                "optimizer must be one that the train step applies, and it applies none that is an "
                "attribute of the model: pass the optimizer itself, optimizer=its_optimizer. "
                f"Received: optimizer={self._asked_for!r}"
            )
        if self._asked_for is None:
            raise ValueError(
                "optimizer must be given: the train step never applies model.optimizer, but "
                f"{', '.join(applied)}. Pass optimizer={applied[-1]!r}, or a list of several whose "
                "rates are to rise together. Received: optimizer=None"
            )
        raise ValueError(
            f"optimizer must be one that the train step applies: {', '.join(applied)}. "
            f"Received: optimizer={self._asked_for!r}; {', '.join(unused)} is never applied"
        )


def chosen(
    model: keras.Model, named: Mapping[str, keras.Optimizer], asked_for: Any
) -> dict[str, keras.Optimizer]:
    """Returns the optimizers whose rates are to rise, by their names.

    Raises:
        TypeError, ValueError: The argument names none, or the model has none.
    """
    names = ", ".join(map(repr, named)) or "none"
    if asked_for is None:
        if model.optimizer is None:
            raise ValueError(
                "model must be compiled with an optimizer: call model.compile first, or pass "
                f"optimizer=, of which the model tracks {names}. Received: model={model.name!r}"
            )
        return {"optimizer": model.optimizer}
    found: dict[str, keras.Optimizer] = {}
    for each in asked_for if isinstance(asked_for, list | tuple) else [asked_for]:
        if isinstance(each, keras.Optimizer):
            known = [name for name, optimizer in named.items() if optimizer is each]
            found[known[0] if known else each.name] = each
            continue
        optimizer = named.get(each) if isinstance(each, str) else None
        if optimizer is None and isinstance(each, str):
            optimizer = getattr(model, each, None)  # another name of the same
        if not isinstance(optimizer, keras.Optimizer):
            kind = ValueError if isinstance(each, str) else TypeError
            raise kind(
                "optimizer must be an optimizer, the name of one that the model tracks, or a list "
                f"of these; it tracks {names}. Received: optimizer={asked_for!r}"
            )
        found[each] = optimizer
    if not found:
        raise ValueError(
            "optimizer must name at least one optimizer, or be None for model.optimizer. "
            f"Received: optimizer={asked_for!r}"
        )
    return found


def _unknown(monitor: str, logs: Mapping[str, Any]) -> ValueError:
    reported = ", ".join(map(repr, logs))
    if monitor == "loss":
        return ValueError(
            'the model\'s train_step must report its loss as "loss"; if it has another name, pass '
            f"monitor={next(iter(logs))!r}. Received: {reported}"
        )
    return ValueError(
        "monitor must be the name of a figure that the model's train_step reports: "
        f"{reported}. Received: monitor={monitor!r}"
    )


def _tensor(leaf: Any) -> Any:
    if leaf is None or tf.is_tensor(leaf):
        return leaf
    tensor = keras.ops.convert_to_tensor(leaf)
    # As `fit` does with arrays.
    return keras.ops.cast(tensor, keras.config.floatx()) if tensor.dtype.is_floating else tensor
