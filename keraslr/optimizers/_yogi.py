"""Yogi: Adam with a second moment that cannot grow or shrink faster than its gradients."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from keraslr._parameters import Number
from keraslr.schedules._ticks import Tensor

_BOUNDS = {
    # 0 as well: callbacks set it, and an optimizer may be rebuilt from that value.
    "learning_rate": Number("", float, at_least=0),
    "beta_1": Number("", float, at_least=0, below=1),
    "beta_2": Number("", float, at_least=0, below=1),
    # Not 0: v may be, and m with it, while a weight has had no gradient.
    "epsilon": Number("", float, above=0),
    # 0 is what Adam begins with: v never falls below 0, since it only shrinks while it is larger
    # than gradient ** 2, and then by less than that.
    "initial_accumulator_value": Number("", float, at_least=0),
}


@keras.saving.register_keras_serializable(package="keraslr")
class Yogi(keras.optimizers.Optimizer):
    """Adam whose second moment changes by additions, and so forgets slowly.

        m = beta_1 * m + (1 - beta_1) * gradient
        v = v - (1 - beta_2) * sign(v - gradient ** 2) * gradient ** 2
        w = w - lr(t) * m_hat / (sqrt(v_hat) + epsilon)

        m_hat = m / (1 - beta_1 ** n),    v_hat = v / (1 - beta_2 ** n)

    n is the number of updates with this one. m begins at 0 and v at `initial_accumulator_value`.
    Adam's v moves towards gradient ** 2 by a share of the distance: where gradients become small
    it falls quickly, and the effective rate rises as quickly. Yogi's v moves by a share of
    gradient ** 2 itself.

    Differs from other implementations: TensorFlow Addons adds epsilon to the root of the v that is
    not corrected, which makes it weigh more in the first steps; torch_optimizer adds it as here,
    but lets m begin at the initial accumulator value too. Algorithm 2 of the paper has no
    correction at all.

    Args:
        learning_rate: A number >= 0, a schedule, or a function without arguments.
        beta_1: Decay of the first moment, >= 0 and < 1.
        beta_2: Decay of the second moment, >= 0 and < 1.
        epsilon: Keeps the divisor from 0, > 0. The paper's 1e-3 is much larger than Adam's.
        initial_accumulator_value: First v, >= 0.
        weight_decay: This and what follows are the arguments of `keras.optimizers.Adam`.

    Raises:
        TypeError, ValueError: A number is not what it has to be; the error names it.

    Example:
        >>> weight = keras.Variable([1.0])
        >>> Yogi(learning_rate=0.1).apply([keras.ops.ones(1)], [weight])
        >>> print(f"{keras.ops.convert_to_numpy(weight)[0]:.5f}")  # 1 - 0.1 / (sqrt(1.001) + 0.001)
        0.90015

    Source: Zaheer, Reddi, Sachan, Kale and Kumar, Adaptive Methods for Nonconvex Optimization
    (2018), Algorithm 2; Kingma and Ba, Adam: A Method for Stochastic Optimization (2015), for the
    correction.
    """

    def __init__(
        self,
        learning_rate: Any = 0.01,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-3,
        initial_accumulator_value: float = 1e-6,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        loss_scale_factor: float | None = None,
        gradient_accumulation_steps: int | None = None,
        name: str | None = "yogi",
        **kwargs: Any,
    ):
        if not callable(learning_rate):  # a schedule is
            learning_rate = _BOUNDS["learning_rate"].validated("learning_rate", learning_rate)
        super().__init__(
            learning_rate=learning_rate,
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
        self.beta_1 = _BOUNDS["beta_1"].validated("beta_1", beta_1)
        self.beta_2 = _BOUNDS["beta_2"].validated("beta_2", beta_2)
        self.epsilon = _BOUNDS["epsilon"].validated("epsilon", epsilon)
        self.initial_accumulator_value = _BOUNDS["initial_accumulator_value"].validated(
            "initial_accumulator_value", initial_accumulator_value
        )

    def build(self, variables: list[Any]) -> None:
        """Makes the moments of each variable; called by Keras."""
        if self.built:
            return
        super().build(variables)
        self._momentums, self._velocities = self.add_optimizer_variables(
            variables,
            ["momentum", "velocity"],
            ["zeros", keras.initializers.Constant(self.initial_accumulator_value)],
        )

    def update_step(self, gradient: Tensor, variable: Any, learning_rate: Tensor) -> None:
        """Updates one variable; called by Keras."""
        lr = ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        bias_1 = 1 - ops.power(ops.cast(self.beta_1, variable.dtype), step)
        bias_2 = 1 - ops.power(ops.cast(self.beta_2, variable.dtype), step)
        m = self._momentums[self._get_variable_index(variable)]
        v = self._velocities[self._get_variable_index(variable)]
        # The slices of an embedding's gradient may hold a row twice. Added to something dense they
        # are summed up, as they must be before they are squared.
        zeros = ops.zeros(m.shape, variable.dtype)
        gradient = ops.add(zeros, ops.cast(gradient, variable.dtype))
        square = ops.square(gradient)
        self.assign_add(m, ops.subtract(gradient, m) * (1 - self.beta_1))
        self.assign_sub(v, ops.sign(ops.subtract(v, square)) * square * (1 - self.beta_2))
        self.assign_sub(variable, lr * (m / bias_1) / (ops.sqrt(v / bias_2) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments as JSON holds them; `from_config` rebuilds it without state."""
        config = super().get_config()
        for name in ("beta_1", "beta_2", "epsilon", "initial_accumulator_value"):
            config[name] = getattr(self, name)
        return config
