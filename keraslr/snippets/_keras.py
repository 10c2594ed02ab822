"""Code to paste: a schedule as a line of Python, as a training script, and as PyTorch code."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import textwrap
from collections.abc import Mapping
from typing import Any

import keras

from keraslr import optimizers, schedules
from keraslr._parameters import Number
from keraslr.schedules import Schedule
from keraslr.snippets import _pytorch
from keraslr.snippets._formulas import call, literal, wrapped

_LENGTH = Number("", int, at_least=1)
_MOMENTUM = Number("", float, at_least=0, below=1)

# Arguments that may be schedules, such as those of keraslr's optimizers.
_MOVING = {("SGD", "momentum"), ("Adam", "beta_1")}

# Arguments of keraslr's SGD that Keras's lacks.
_OWN = frozenset({"momentum_rule", "dampening"})


def keras_line(schedule: Schedule) -> str:
    """Returns the schedule as an expression that rebuilds it, after `import keraslr`.

    Combinators are written as methods, and arguments that keep their default are left out. A class
    of your own is written by its bare name.

    Args:
        schedule: A keraslr schedule.

    Returns:
        One line; evaluated, it equals the schedule.

    Raises:
        TypeError: `schedule` is no keraslr schedule.

    Example:
        >>> keras_line(CosineAnnealingLR(0.1, T_max=30).with_warmup(5).per_epoch(235))
        'keraslr.CosineAnnealingLR(0.1, T_max=30).with_warmup(5).per_epoch(235)'
    """
    _check(schedule)
    own = not _is_keraslr(schedule)
    given = _given(schedule)
    match schedule:
        # A user's class may be derived from a combinator, but no method makes it.
        case _ if own:
            pass
        case schedules.PerEpoch(schedule=inner, steps_per_epoch=n):
            return _method(inner, "per_epoch", f"{n}", *_named(given, "smooth"))
        case schedules.Warmup(schedule=inner, steps=n):
            return _method(inner, "with_warmup", f"{n}", *_named(given, "start_lr", "mode"))
        case schedules.HeldAfter(schedule=inner, t=last):
            return _method(inner, "held_after", f"{last}")
        case schedules.Clipped(schedule=inner):
            bounds = _named(given, "min_lr", "max_lr")
            return _method(inner, "clipped", *(each for each in bounds if each != "min_lr=0.0"))
        case schedules.CycledMomentum(schedule=inner, base_momentum=low, max_momentum=high):
            return _method(inner, "momentum_schedule", f"{low!r}", f"{high!r}")
        case schedules.Scaled(schedule=inner, factor=factor):
            return f"{keras_line(inner)} * {factor!r}"
        case schedules.SequentialLR(schedules=(first, *rest), milestones=milestones) if (
            # `then` goes on with a sequence; one within another needs the class.
            rest and not isinstance(first, schedules.SequentialLR)
        ):
            line = _receiver(first)
            for each, at in zip(rest, milestones, strict=True):
                line += f".then({keras_line(each)}, at={at})"
            return line
    if "epochs" in given and "steps_per_epoch" in given:
        given.pop("total_steps", None)  # OneCycleLR's, which is their product
    # The first argument speaks for itself.
    arguments = list(given.values())[:1] + _named(given, *list(given)[1:])
    return f"{'' if own else 'keraslr.'}{type(schedule).__name__}({', '.join(arguments)})"


def fit_snippet(
    schedule: Schedule,
    *,
    epochs: int,
    batch_size: int,
    optimizer: str = "SGD",
    optimizer_arguments: Mapping[str, Any] | None = None,
) -> str:
    """Returns a complete script that trains a LeNet on Fashion-MNIST under the schedule.

    Args:
        schedule: A keraslr schedule. One that counts epochs is told how many steps they have by
            `per_epoch`: 60,000 examples make ceil(60000 / batch_size).
        epochs: Epochs to train, >= 1.
        batch_size: Examples per optimizer step, >= 1.
        optimizer: Name of a class in `keras.optimizers`, or "Yogi".
        optimizer_arguments: Its other arguments by name: numbers, strings, True, False, None, or
            for the momentum of SGD and Adam's first beta a schedule. With `momentum_rule` and
            `dampening` SGD is keraslr's: a recipe from PyTorch that has a momentum and a moving
            rate needs `"momentum_rule": "pytorch"`.

    Returns:
        The script. It downloads the images the first time.

    Raises:
        TypeError, ValueError: An argument is wrong; the error names it.

    Example:
        >>> print(fit_snippet(StepLR(0.1, step_size=900), epochs=5, batch_size=256))
        import keras
        import keraslr
        <BLANKLINE>
        (x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
        x_train = x_train[..., None].astype("float32") / 255
        x_test = x_test[..., None].astype("float32") / 255
        <BLANKLINE>
        schedule = keraslr.StepLR(0.1, step_size=900)
        <BLANKLINE>
        model = keraslr.models.lenet(seed=0)
        model.compile(
            optimizer=keras.optimizers.SGD(schedule),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        model.fit(
            x_train, y_train, batch_size=256, epochs=5, validation_data=(x_test, y_test)
        )
        <BLANKLINE>
    """
    line = keras_line(schedule)
    epochs = _LENGTH.validated("epochs", epochs)
    batch_size = _LENGTH.validated("batch_size", batch_size)
    made = _optimizer(optimizer, dict(optimizer_arguments or {}), line)
    own = sorted(
        f"from {module} import {name}\n"
        for module, name in _own_classes(schedule)
        if module != "__main__"  # there it is defined already
    )
    return (
        f"import keras\nimport keraslr\n{''.join(own)}\n"
        "(x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()\n"
        'x_train = x_train[..., None].astype("float32") / 255\n'
        'x_test = x_test[..., None].astype("float32") / 255\n'
        "\n"
        f"schedule = {wrapped(line)}\n"
        "\n"
        "model = keraslr.models.lenet(seed=0)\n"
        "model.compile(\n"
        f"{textwrap.indent(f'optimizer={made}', '    ')},\n"
        "    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),\n"
        '    metrics=["accuracy"],\n'
        ")\n"
        "model.fit(\n"
        f"    x_train, y_train, batch_size={batch_size}, epochs={epochs}, "
        "validation_data=(x_test, y_test)\n"
        ")\n"
    )


def pytorch_snippet(
    schedule: Schedule,
    *,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
    momentum: float = 0.0,
) -> str:
    """Returns PyTorch code with the same rates: imports, optimizer, scheduler, training loop.

    PyTorch's own schedulers are used wherever they give these rates; elsewhere a `LambdaLR` with
    the formula, and a comment that says where PyTorch differs. The scheduler is stepped once per
    epoch for a schedule that is `per_epoch` (and not smooth), after every batch otherwise.

    PyTorch's SGD with a momentum takes the steps of `keraslr.optimizers.SGD` with
    `momentum_rule="pytorch"`; a comment says so where the rate moves, since Keras's own SGD takes
    other steps then.

    Args:
        schedule: A keraslr schedule of learning rates.
        epochs: Epochs to train, >= 1; None leaves the number to the person who pastes the code.
        steps_per_epoch: Batches per epoch, >= 1; None for those of a `per_epoch`, or unknown.
        momentum: Of SGD, from 0 to below 1.

    Returns:
        The code. The names `model`, `loader` and `loss_function` are to be filled in.

    Raises:
        TypeError: An argument has the wrong type; the error names it.
        ValueError: A number is wrong, or the schedule is a momentum or holds a class that is not
            keraslr's own.

    Example:
        >>> print(pytorch_snippet(CosineAnnealingLR(0.1, T_max=30).per_epoch(235), epochs=30))
        import torch
        <BLANKLINE>
        # Yours: model, loss_function and loader with 235 batches per epoch.
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30)
        <BLANKLINE>
        for epoch in range(30):
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss_function(model(inputs), targets).backward()
                optimizer.step()
            scheduler.step()
        <BLANKLINE>
    """
    _check(schedule)
    if epochs is not None:
        epochs = _LENGTH.validated("epochs", epochs)
    if steps_per_epoch is not None:
        steps_per_epoch = _LENGTH.validated("steps_per_epoch", steps_per_epoch)
    momentum = _MOMENTUM.validated("momentum", momentum)
    for part in _pytorch.within(schedule):
        if not _is_keraslr(part) or isinstance(part, schedules.CycledMomentum):
            kind = "a momentum" if _is_keraslr(part) else "a class of your own"
            raise ValueError(
                "schedule must be made of keraslr's learning-rate schedules to be written for "
                f"PyTorch. Received: {type(part).__name__}, {kind}"
            )
    code = _pytorch.written(schedule, epochs, steps_per_epoch)
    count = steps_per_epoch or code.steps_per_epoch
    loader = f"loader with {_pytorch.batches(count)} per epoch" if count else "loader"
    yours = ["model", "loss_function", *([] if epochs else ["epochs"])]
    notes = [f"Yours: {', '.join(yours)} and {loader}.", *code.notes]
    if momentum and _moves(schedule):
        notes.append(
            "PyTorch multiplies its velocity by the current rate. In Keras "
            f'keraslr.optimizers.SGD(schedule, {momentum=!r}, momentum_rule="pytorch") takes the '
            "same steps; Keras's own rule takes others once the rate changes."
        )
    comments = "\n".join(
        textwrap.fill(note, 88, initial_indent="# ", subsequent_indent="# ") for note in notes
    )
    given = [f"lr={code.learning_rate!r}", *([f"momentum={momentum!r}"] if momentum else [])]
    functions = any(each.startswith("def ") for each in code.definitions)
    # Two blank lines around functions, as formatters write them.
    gap = "\n\n" if functions else "\n"
    body = ("\n\n\n" if functions else "\n").join(code.definitions)
    imports = [name for name in ("bisect", "math") if f"{name}." in body + code.scheduler]
    return (
        "".join(f"import {name}\n" for name in imports)
        + ("\n" if imports else "")
        + "import torch\n"
        + (f"{gap}{body}\n{gap}" if body else "\n")
        + f"{comments}\n"
        + f"optimizer = torch.optim.SGD(model.parameters(), {', '.join(given)})\n"
        + f"scheduler = {code.scheduler}\n"
        + f"\nfor epoch in range({epochs or 'epochs'}):\n"
        + "    for inputs, targets in loader:\n"
        + "        optimizer.zero_grad()\n"
        + "        loss_function(model(inputs), targets).backward()\n"
        + "        optimizer.step()\n"
        + f"{'    ' if code.steps_per_epoch else '        '}scheduler.step()\n"
    )


def _check(schedule: Any) -> None:
    if not isinstance(schedule, Schedule):
        raise TypeError(f"schedule must be a keraslr schedule. Received: schedule={schedule!r}")


def _is_keraslr(schedule: Schedule) -> bool:
    return getattr(schedules, type(schedule).__name__, None) is type(schedule)


def _moves(schedule: Schedule) -> bool:
    """Whether the rate may change: all schedules but a constant, per epoch, scaled and so on."""
    constant = [
        isinstance(part, schedules.ConstantLR) and part.factor == 1
        for part in _pytorch.within(schedule)
        if isinstance(part, schedules.Warmup) or not list(part.inner_schedules())
    ]
    return constant != [True]


def _own_classes(schedule: Schedule) -> set[tuple[str, str]]:
    """Returns module and name of the classes that are not keraslr's."""
    return {
        (type(part).__module__, type(part).__name__)
        for part in _pytorch.within(schedule)
        if not _is_keraslr(part)
    }


def _given(schedule: Schedule) -> dict[str, str]:
    """Returns the text of each argument that differs from its default."""
    given = {}
    for field in dataclasses.fields(schedule):
        value = getattr(schedule, field.name)
        if value != field.default:
            given[field.name] = _value(value)
    return given


def _value(value: Any) -> str:
    if isinstance(value, Schedule):
        return keras_line(value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return literal(value)


def _named(given: Mapping[str, str], *names: str) -> list[str]:
    return [f"{name}={given[name]}" for name in names if name in given]


def _receiver(schedule: Schedule) -> str:
    """Returns the schedule's line in a form that a method call can follow."""
    line = keras_line(schedule)
    return f"({line})" if isinstance(schedule, schedules.Scaled) else line


def _method(inner: Schedule, name: str, *arguments: str) -> str:
    return f"{_receiver(inner)}.{name}({', '.join(arguments)})"


def _optimizer(name: str, arguments: Mapping[str, Any], line: str) -> str:
    """Returns the call that makes an optimizer under `schedule`, given that schedule's line."""
    module, cls = _optimizer_class(name, arguments)
    allowed = sorted(set(inspect.signature(cls).parameters) - {"learning_rate", "kwargs"})
    given = ["schedule"]
    for key, value in arguments.items():
        if key not in allowed:
            raise ValueError(
                f"optimizer_arguments of {name} must be among {', '.join(allowed)}. "
                f"Received: {key}={value!r}"
            )
        if isinstance(value, Schedule) and (name, key) not in _MOVING:
            raise ValueError(
                "optimizer_arguments may hold a schedule only for the momentum of SGD and beta_1 "
                f"of Adam. Received: {key} of {name}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"optimizer_arguments must be finite. Received: {key}={value!r}")
        if not isinstance(value, bool | int | float | str | Schedule | None):
            raise TypeError(
                "optimizer_arguments must be numbers, strings, True, False, None or a schedule. "
                f"Received: {key}={value!r} ({type(value).__name__})"
            )
        text = _value(value)
        # A cycle's own momentum is derived from the cycle.
        text = f"schedule{text.removeprefix(line)}" if text.startswith(f"{line}.") else text
        given.append(f"{key}={text}")
    return call(f"{module}.{name}", given)


def _optimizer_class(name: str, arguments: Mapping[str, Any]) -> tuple[str, type]:
    """Returns the class of that optimizer and its module; keraslr's for what Keras's lacks."""
    if not isinstance(name, str):
        raise TypeError(f"optimizer must be a name. Received: optimizer={name!r}")
    moving = any(isinstance(value, Schedule) for value in arguments.values())
    if name == "Yogi" or (name in optimizers.__all__ and (moving or _OWN.intersection(arguments))):
        return "keraslr.optimizers", getattr(optimizers, name)
    classes = {
        key: value
        for key, value in vars(keras.optimizers).items()
        if isinstance(value, type)
        and issubclass(value, keras.optimizers.Optimizer)
        and value is not keras.optimizers.Optimizer
        and "learning_rate" in inspect.signature(value).parameters
    }
    if name not in classes:
        known = sorted([*classes, "Yogi"])
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise ValueError(
            f"optimizer must be one of {', '.join(known)}. Received: optimizer={name!r}.{hint}"
        )
    return "keras.optimizers", classes[name]
