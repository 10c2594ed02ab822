"""Keras's SGD and Adam, with a momentum that may be a schedule."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from keras.optimizers.schedules import LearningRateSchedule

from keraslr._parameters import Choice, Number
from keraslr.schedules._dtypes import FLOAT
from keraslr.schedules._registry import decoded_schedule
from keraslr.schedules._ticks import Tensor


class _NumberOrSchedule(Number):
    """A number within bounds, or a schedule of it."""

    @property
    def rule(self) -> str:
        return f"{super().rule}, or a LearningRateSchedule"

    def validated(self, name: str, value: Any) -> Any:
        """See `Parameter.validated`."""
        if isinstance(value, LearningRateSchedule):
            return value
        return super().validated(name, value)

    def encoded(self, value: Any) -> Any:
        """Returns the number, or the schedule as Keras writes a serialized object."""
        if isinstance(value, LearningRateSchedule):
            return keras.saving.serialize_keras_object(value)
        return value

    def decoded(self, value: Any, custom_objects: Any = None) -> Any:
        """Inverse of `encoded`; the result is validated afterwards."""
        if not isinstance(value, dict):
            return value
        return decoded_schedule(value, custom_objects)


class _Scheduled(keras.optimizers.Optimizer):
    """An optimizer one of whose numbers may be a schedule.

    Attributes:
        scheduled: The name of that argument.
        bounds: What the argument may be.
    """

    scheduled: str
    bounds: _NumberOrSchedule

    # Value from `_evaluated`, while the variables of one step are updated.
    _shared: Any = None

    @property
    def _is_scheduled(self) -> bool:
        return isinstance(getattr(self, self.scheduled), LearningRateSchedule)

    def _evaluated(self) -> Any:
        """Returns the schedule's value at the optimizer's step."""
        # The raw counter, as for the learning rate: both clocks count the gradients that are
        # accumulated, while `iterations` counts the updates.
        return ops.convert_to_tensor(getattr(self, self.scheduled)(self._iterations))

    def _now(self) -> Any:
        return self._evaluated() if self._shared is None else self._shared

    def _backend_update_step(
        self, grads: list[Tensor], trainable_variables: list[Any], learning_rate: Tensor
    ) -> None:
        # Once for all variables: in a graph of 160 of them their own copies of the schedule took
        # ten times as long to build and more than twice as long to run.
        if self._is_scheduled:
            self._shared = self._evaluated()
        try:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
        finally:
            self._shared = None  # a tensor of this graph must not be used in another

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as JSON holds them; `from_config` rebuilds it without state."""
        config = super().get_config()
        config[self.scheduled] = self.bounds.encoded(getattr(self, self.scheduled))
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Any:
        """Rebuilds an optimizer from `get_config()`.

        Raises:
            TypeError, ValueError: The config holds something that the class does not accept.
        """
        config = dict(config)
        if cls.scheduled in config:
            config[cls.scheduled] = cls.bounds.decoded(config[cls.scheduled], custom_objects)
        return super().from_config(config, custom_objects=custom_objects)


_RULE = Choice("", ("keras", "pytorch"))
_DAMPENING = Number("", float, at_least=0, at_most=1)

# In a file beside the numbered variables; says that the velocity is a sum of gradients.
_MARK = "velocity_of_gradients"


@keras.saving.register_keras_serializable(package="keraslr")
class SGD(_Scheduled, keras.optimizers.SGD):
    """`keras.optimizers.SGD` with a momentum schedule, and with PyTorch's rule of momentum.

    With `momentum_rule="keras"` the velocity is a sum of steps:

        velocity = momentum(t) * velocity - lr(t) * gradient
        w = w + velocity
        w = w + momentum(t) * velocity - lr(t) * gradient       instead, with nesterov

    With `momentum_rule="pytorch"` it is a sum of gradients:

        velocity = momentum(t) * velocity + (1 - dampening) * gradient
        velocity = gradient                                     instead, in the first update
        w = w - lr(t) * velocity
        w = w - lr(t) * (gradient + momentum(t) * velocity)     instead, with nesterov

    t is the optimizer's step, the same for the momentum as for the learning rate. The two rules
    take the same steps while the rate is constant and dampening is 0. When the rate falls,
    PyTorch's steps shrink at once, and Keras's only as the velocity is forgotten. A recipe with a
    momentum and a schedule means the rule of the framework that it was made with.

    With a number as momentum, Keras's rule is Keras's own code; a schedule that is constant gives
    the same bits.

    Args:
        learning_rate: A number, a schedule, or a function without arguments.
        momentum: A number >= 0 and <= 1, or any `keras.optimizers.schedules.LearningRateSchedule`.
        nesterov: Whether to look ahead by one step of the velocity.
        weight_decay: Up to `name`, the arguments of `keras.optimizers.SGD`.
        momentum_rule: "keras" or "pytorch". With a momentum of 0 there is no difference.
        dampening: Share of each gradient that the velocity leaves out, >= 0 and <= 1; only with
            PyTorch's rule. The first update has none.

    Raises:
        TypeError: `momentum` is neither a number nor a schedule, or an argument has a wrong type.
        ValueError: A number or a name is wrong; `dampening` is given with Keras's rule; or with
            PyTorch's, `nesterov` has no momentum or a dampening. Also when a checkpoint of the
            other rule is loaded: its velocity has another sign and another unit.

    Example:
        The rate falls from 0.1 to 0.01 after two steps; every gradient is 1.

        >>> for rule in ("pytorch", "keras"):
        ...     weight, seen = keras.Variable(1.0), []
        ...     optimizer = SGD(StepLR(0.1, step_size=2), momentum=0.9, momentum_rule=rule)
        ...     for _ in range(4):
        ...         optimizer.apply([keras.ops.convert_to_tensor(1.0)], [weight])
        ...         seen.append(f"{keras.ops.convert_to_numpy(weight):.5g}")
        ...     print(rule, *seen)
        pytorch 0.9 0.71 0.6829 0.64851
        keras 0.9 0.71 0.529 0.3561

        A momentum that goes down while the rate goes up:

        >>> rate = OneCycleLR(0.1, total_steps=200)
        >>> momentum = rate.momentum_schedule(0.85, 0.95)
        >>> optimizer = SGD(rate, momentum=momentum, momentum_rule="pytorch")
        >>> optimizer.momentum.values(200)[[0, 59, 199]]
        array([0.95, 0.85, 0.95], dtype=float32)

    Differs from PyTorch: the default rule is Keras's. `weight_decay` is Keras's with both rules: it
    shrinks the weights by lr(t) * weight_decay before the update. PyTorch's SGD adds
    weight_decay * w to the gradient; for that, give the layers
    `keras.regularizers.L2(weight_decay / 2)`. At steps where a schedule gives a momentum of exactly
    0, PyTorch leaves the velocity as it is; here it follows the formula.

    Source: `torch.optim.SGD`, and `cycle_momentum` of `torch.optim.lr_scheduler.OneCycleLR` and
    `CyclicLR`; Goyal et al., Accurate, Large Minibatch SGD (2017), equations 9 and 10, for what the
    difference does to a recipe.
    """

    scheduled = "momentum"
    bounds = _NumberOrSchedule("", float, at_least=0, at_most=1)

    def __init__(
        self,
        learning_rate: Any = 0.01,
        momentum: Any = 0.0,
        nesterov: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        *,
        momentum_rule: str = "keras",
        dampening: float = 0.0,
        **kwargs: Any,
    ):
        momentum = self.bounds.validated("momentum", momentum)
        momentum_rule = _RULE.validated("momentum_rule", momentum_rule)
        dampening = _DAMPENING.validated("dampening", dampening)
        if momentum_rule == "keras" and dampening:
            raise ValueError(
                'dampening must be 0 with momentum_rule="keras", which has none. Received: '
                f'dampening={dampening!r}. Pass momentum_rule="pytorch" to use it'
            )
        if momentum_rule == "pytorch" and nesterov and (momentum == 0 or dampening):
            raise ValueError(
                'nesterov must be False with momentum_rule="pytorch", unless momentum is > 0 and '
                f"dampening is 0. Received: nesterov={nesterov!r}, momentum={momentum!r}, "
                f"dampening={dampening!r}. Pass a momentum without dampening, or nesterov=False"
            )
        super().__init__(
            learning_rate=learning_rate,
            # Keras accepts numbers only; the schedule takes this one's place below.
            momentum=momentum if isinstance(momentum, float) else 0.0,
            nesterov=nesterov,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )
        self.momentum = momentum
        self.momentum_rule = momentum_rule
        self.dampening = dampening

    @property
    def _sums_gradients(self) -> bool:
        return self.momentum_rule == "pytorch" and self.momentum != 0

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Updates one variable; called by Keras."""
        if not self._is_scheduled and not self._sums_gradients:
            super().update_step(gradient, variable, learning_rate)
            return
        learning_rate = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        momentum = ops.cast(self._now() if self._is_scheduled else self.momentum, variable.dtype)
        velocity = self.momentums[self._get_variable_index(variable)]
        if self._sums_gradients:
            added = gradient
            if self.dampening:
                # Of updates and not of batches, so that accumulated gradients have one first.
                share = ops.where(ops.equal(self.iterations, 0), 1.0, 1 - self.dampening)
                added = ops.multiply(gradient, ops.cast(share, variable.dtype))
            self.assign(velocity, ops.add(ops.multiply(velocity, momentum), added))
            ahead = (
                ops.add(ops.multiply(velocity, momentum), gradient) if self.nesterov else velocity
            )
            self.assign_sub(variable, ops.multiply(ahead, learning_rate))
            return
        # Keras's operations in Keras's order, so that the results equal Keras's to the bit.
        step = ops.multiply(gradient, learning_rate)
        self.assign(velocity, ops.subtract(ops.multiply(velocity, momentum), step))
        if self.nesterov:
            self.assign_add(variable, ops.subtract(ops.multiply(velocity, momentum), step))
        else:
            self.assign_add(variable, velocity)

    def save_own_variables(self, store: Any) -> None:
        """Writes the variables by their numbers; called by Keras."""
        super().save_own_variables(store)
        if self._sums_gradients:
            # Keras's own SGD then counts one variable too many, and says that it loads none.
            store[_MARK] = np.ones(())

    def load_own_variables(self, store: Any) -> None:
        """Reads the variables by their numbers; called by Keras.

        Raises:
            ValueError: They were saved by an optimizer with the other rule.
        """
        names = list(store.keys())
        numbered = {name: store[name] for name in names if name != _MARK}
        saved = "pytorch" if _MARK in names else "keras"
        # Another number of variables is another optimizer: Keras warns, and reads none of them.
        same = len(numbered) == len(self.variables)
        if same and getattr(self, "momentums", None) and saved != self.momentum_rule:
            raise ValueError(
                "momentum_rule must be that of the checkpoint, whose velocity has another unit "
                f'with the other rule. Received: momentum_rule="{self.momentum_rule}" and a '
                f'checkpoint of "{saved}". Pass momentum_rule="{saved}" to continue the run, or '
                "load the weights into the model before it is compiled"
            )
        super().load_own_variables(numbered)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as JSON holds them; `from_config` rebuilds it without state."""
        rule = {"momentum_rule": self.momentum_rule, "dampening": self.dampening}
        return {**super().get_config(), **rule}


@keras.saving.register_keras_serializable(package="keraslr")
class Adam(_Scheduled, keras.optimizers.Adam):
    """`keras.optimizers.Adam` whose `beta_1`, its momentum, may follow a schedule.

        m = beta_1(t) * m + (1 - beta_1(t)) * gradient
        v = beta_2 * v + (1 - beta_2) * gradient ** 2
        alpha = lr(t) * sqrt(1 - beta_2 ** n) / (1 - beta_1(t) ** n)
        w = w - alpha * m / (sqrt(v) + epsilon)

    t is the optimizer's step, the same for beta_1 as for the learning rate, and n the number of
    updates with this one. The bias of m is corrected with the current beta_1 to the power n, as in
    PyTorch. With a number as beta_1 it is Keras's own optimizer, and a schedule that is constant
    gives the same bits.

    Args:
        learning_rate: A number, a schedule, or a function without arguments.
        beta_1: A number >= 0 and < 1, or any `keras.optimizers.schedules.LearningRateSchedule`.
        beta_2: Decay of the second moment.
        epsilon: "Epsilon hat" of the paper.
        amsgrad: Whether v is replaced by its highest value so far.
        weight_decay: This and what follows are the arguments of `keras.optimizers.Adam`.

    Raises:
        TypeError: `beta_1` is neither a number nor a schedule.
        ValueError: `beta_1` is a number outside of 0..1, or 1.

    Example:
        >>> rate = CyclicLR(0.001, 0.01, step_size_up=4)
        >>> Adam(rate, beta_1=rate.momentum_schedule(0.5, 0.75)).beta_1.values(9)[[0, 4, 8]]
        array([0.75, 0.5 , 0.75], dtype=float32)

    Source: Kingma and Ba, Adam: A Method for Stochastic Optimization (2015); `cycle_momentum` of
    `torch.optim.lr_scheduler.OneCycleLR` and `CyclicLR`.
    """

    scheduled = "beta_1"
    bounds = _NumberOrSchedule("", float, at_least=0, below=1)

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: Any = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(
            learning_rate=learning_rate,
            beta_1=self.bounds.validated("beta_1", beta_1),
            beta_2=beta_2,
            epsilon=epsilon,
            amsgrad=amsgrad,
            weight_decay=weight_decay,
            clipnorm=clipnorm,
            clipvalue=clipvalue,
            global_clipnorm=global_clipnorm,
            use_ema=use_ema,
            ema_momentum=ema_momentum,
            ema_overwrite_frequency=ema_overwrite_frequency,
            loss_scale_factor=loss_scale_factor,
            gradient_accumulation_steps=gradient_accumulation_steps,
            name=name,
            **kwargs,
        )

    def _evaluated(self) -> Any:
        beta_1 = super()._evaluated()
        return beta_1, _complement(beta_1)

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Updates one variable; called by Keras."""
        if not self._is_scheduled:
            super().update_step(gradient, variable, learning_rate)
            return
        # Keras's operations in Keras's order, so that the results equal Keras's to the bit.
        beta_1, complement = self._now()
        lr = ops.cast(learning_rate, variable.dtype)
        gradient = ops.cast(gradient, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        beta_1_power = ops.power(ops.cast(beta_1, variable.dtype), step)
        beta_2_power = ops.power(ops.cast(self.beta_2, variable.dtype), step)
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        alpha = lr * ops.sqrt(1 - beta_2_power) / (1 - beta_1_power)
        share = ops.cast(complement, variable.dtype)
        self.assign_add(m, ops.multiply(ops.subtract(gradient, m), share))
        self.assign_add(v, ops.multiply(ops.subtract(ops.square(gradient), v), 1 - self.beta_2))
        if self.amsgrad:
            highest = self._velocity_hats[self._get_variable_index(variable)]
            self.assign(highest, ops.maximum(highest, v))
            v = highest
        self.assign_sub(
            variable,
            ops.divide(ops.multiply(m, alpha), ops.add(ops.sqrt(v), self.epsilon)),
        )


def _complement(beta: Tensor) -> Tensor:
    """Returns 1 - beta, where beta is read as the decimal number in which it was written.

    Keras takes 1 - 0.9 in Python's doubles. The float32 nearest to 0.9 is smaller by 2e-8, so that
    1 - beta would be wrong in its seventh digit. A number of seven decimals that rounds to the same
    float32 is as good a reading of it as any other.
    """
    # Nothing is rounded here, in floats only where beta < 0.5 and that does not matter.
    rest = 1 - ops.cast(beta, FLOAT)
    decimal = ops.round(rest * 1e7) / 1e7
    return ops.where(ops.cast(1 - decimal, beta.dtype) == beta, decimal, rest)
