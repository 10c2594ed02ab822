"""Large batches: the rate fixed, scaled, and scaled after a warm-up; step and cosine decay."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from keraslr import datasets, models
from keraslr._chart_data import LineFigure
from keraslr.jobs._job import Job
from keraslr.published._lenet import collapsed, lenet_run
from keraslr.published._parts import (
    Findings,
    Line,
    Part,
    Plan,
    Results,
    Spread,
    Statement,
    Verdict,
    read_data,
)
from keraslr.scaling import linear_scaling
from keraslr.schedules import ConstantLR, CosineAnnealingLR, MultiStepLR, Schedule, parse

# Returns the decay of a rate that follows the warm-up, in epochs.
_Decay = Callable[[float, int], Schedule]

WAYS = ("fixed", "scaled", "scaled, warm-up")
DECAYS = ("step decay", "cosine decay")


def _lenet_schedule(data: dict[str, Any], way: str, batch_size: int) -> Schedule:
    """Returns the schedule of a way or decay, counted in epochs."""
    base, warmup = data["base_learning_rate"], data["warmup_epochs"]
    scaled = linear_scaling(base, batch_size, data["base_batch_size"])
    rest = data["epochs"] - warmup
    match way:
        case "fixed":
            return ConstantLR(base, factor=1.0)
        case "scaled":
            return ConstantLR(scaled, factor=1.0)
        case "scaled, warm-up":
            schedule: Schedule = ConstantLR(scaled, factor=1.0)
        case "step decay":
            # As in the ResNet-50 recipe: at one and at two thirds of the run.
            thirds = (round(data["epochs"] / 3) - warmup, round(2 * data["epochs"] / 3) - warmup)
            schedule = MultiStepLR(scaled, milestones=thirds, gamma=0.1)
        case "cosine decay":
            schedule = CosineAnnealingLR(scaled, T_max=rest)
        case _:
            raise ValueError(f"way must be one of {WAYS + DECAYS}. Received: way={way!r}")
    return schedule.with_warmup(warmup, start_lr=scaled / (warmup + 1))


def resnet50_schedules() -> dict[str, Schedule]:
    """Returns the ResNet-50 recipe's two schedules, in optimizer steps, by their decay."""
    data = read_data("large_batch")
    recipe = data["resnet50"]
    rate = linear_scaling(data["base_learning_rate"], recipe["batch_size"], data["base_batch_size"])
    steps_per_epoch = math.ceil(recipe["images"] / recipe["batch_size"])
    warmup = recipe["warmup_epochs"] * steps_per_epoch
    drops = tuple(epoch * steps_per_epoch - warmup for epoch in recipe["step_epochs"])
    decays: dict[str, Schedule] = {
        "step decay": MultiStepLR(rate, milestones=drops, gamma=recipe["gamma"]),
        "cosine decay": CosineAnnealingLR(rate, T_max=recipe["epochs"] * steps_per_epoch - warmup),
    }
    return {name: decay.with_warmup(warmup) for name, decay in decays.items()}


def resnet50_steps(schedule: str, dataset: str, steps: int, size: int, batch_size: int,
                   seed: int) -> dict[str, Any]:  # fmt: skip
    """Trains the ResNet-50 recipe for a few steps on small images: losses and applied rates."""
    import keras

    from keraslr.callbacks import LearningRateLogger

    keras.utils.set_random_seed(seed)
    data = datasets.load(dataset)
    images = data.x_train[: steps * batch_size].astype("float32") / 255
    padded = np.zeros((len(images), size, size, 3), "float32")
    edge = (size - images.shape[1]) // 2
    padded[:, edge : edge + images.shape[1], edge : edge + images.shape[2]] = images
    model = models.resnet50(parse(schedule), input_shape=(size, size, 3), classes=10)
    losses: list[float] = []
    tell = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: losses.append(float(logs["loss"]))
    )
    history = model.fit(
        padded, data.y_train[: len(padded)], batch_size=batch_size, epochs=1, shuffle=False,
        verbose=0, callbacks=[LearningRateLogger(), tell],
    )  # fmt: skip
    rates = list(history.history["applied_learning_rate"][0])
    return {"mean_loss": losses, "learning_rate": rates, "parameters": model.count_params()}


def _jobs(plan: Plan) -> list[Job]:
    data = read_data("large_batch")
    recipe = data["resnet50"]
    jobs = []
    if not (plan.quick or plan.substitute):
        settings = [(way, size) for way in WAYS for size in data["batch_sizes"]]
        settings += [(decay, data["decay_batch_size"]) for decay in DECAYS]
        for way, batch_size in settings:
            for seed in plan.seeds_of(data["seeds"]):
                arguments = {
                    "schedule": repr(_lenet_schedule(data, way, batch_size)),
                    "dataset": plan.dataset, "initialization": "pytorch",
                    "epochs": data["epochs"], "batch_size": batch_size, "seed": seed,
                }  # fmt: skip
                name = f"{way}, batch {batch_size}"
                jobs.append(
                    Job("large-batch", name, seed, 4.5 * data["epochs"], lenet_run, arguments)
                )
    arguments = {
        "schedule": repr(resnet50_schedules()["cosine decay"]), "dataset": plan.dataset,
        "steps": recipe["steps_shown"], "size": recipe["image_size"],
        "batch_size": recipe["shown_batch_size"], "seed": 0,
    }  # fmt: skip
    jobs.append(Job("large-batch", "ResNet-50", 0, 25.0, resnet50_steps, arguments))
    return jobs


def _findings(plan: Plan, results: Results) -> Findings:
    data = read_data("large_batch")
    by_name: dict[str, list[dict[str, Any]]] = {}
    for job, result in results:
        by_name.setdefault(job.name, []).append(result)
    lines, pictures = [], []
    accuracy: dict[str, float] = {}
    for name, runs in by_name.items():
        if name == "ResNet-50":
            continue
        learned = [run for run in runs if not collapsed(run)]
        dead = len(runs) - len(learned)
        here = Spread.of([run["test_accuracy"][-1] for run in learned]) if learned else None
        # Collapsed runs count: at a rate that is too large, that is the finding.
        accuracy[name] = float(np.mean([(run["test_accuracy"] or [0.1])[-1] for run in runs]))
        note = f"{dead} of {len(runs)} collapsed" if dead else ""
        shown = here.shown(3) if here else ""
        lines.append(Line(name, "test acc.", "", "", shown, Verdict.NOT_COMPARED, note))
    statements = _statements(data, accuracy, by_name)
    if accuracy:
        sizes = data["batch_sizes"]
        curves = {
            way: (sizes, [accuracy[f"{way}, batch {size}"] for size in sizes])
            for way in WAYS
            if all(f"{way}, batch {size}" in accuracy for size in sizes)
        }
        pictures.append(
            LineFigure(
                f"Test accuracy of the LeNet after {data['epochs']} epochs, by batch size",
                "batch size",
                "test accuracy",
                curves,
                log_x=True,
                markers=True,
            )
        )
    statements += _resnet50(data, by_name.get("ResNet-50", []))
    pictures.append(_resnet50_picture(data))
    left_out = ""
    if plan.substitute:
        left_out = (
            "Fashion-MNIST is not available, so the LeNet is not trained at four batch sizes."
        )
    elif plan.quick:
        left_out = "The LeNet at four batch sizes is not trained."
    return Findings(data["about"], lines, statements, pictures, left_out)


def _statements(
    data: dict[str, Any], accuracy: dict[str, float], by_name: dict[str, list[dict[str, Any]]]
) -> list[Statement]:
    claims, sizes, statements = data["claims"], data["batch_sizes"], []
    names = {way: [f"{way}, batch {size}" for size in sizes] for way in WAYS}
    if all(name in accuracy for way in WAYS for name in names[way]):

        def listed(way: str) -> str:
            pairs = zip(sizes, names[way], strict=True)
            return ", ".join(f"{accuracy[name]:.3f} at {size}" for size, name in pairs)

        fixed = [accuracy[name] for name in names["fixed"]]
        falls = all(a > b for a, b in itertools.pairwise(fixed))
        statements.append(Statement(claims["fixed"], falls, f"Test accuracy {listed('fixed')}."))
        base = accuracy[f"fixed, batch {data['base_batch_size']}"]
        within = data["recovered_within"]
        warm = [accuracy[name] for name in names["scaled, warm-up"]]
        statements.append(
            Statement(
                claims["scaled"],
                all(value > base - within for value in warm),
                f"Scaled after a warm-up {listed('scaled, warm-up')}; without a warm-up "
                f"{listed('scaled')}. Counted as recovered within {within} of the {base:.3f} at "
                f"batch size {data['base_batch_size']}.",
            )
        )
    step, cosine = (by_name.get(f"{d}, batch {data['decay_batch_size']}", []) for d in DECAYS)
    if step and cosine:
        curves = [
            np.mean([run["test_accuracy"] for run in runs], axis=0) for runs in (step, cosine)
        ]
        third = round(data["epochs"] * 2 / 3)
        early = [float(curve[:third].mean()) for curve in curves]
        ends = [float(curve[-1]) for curve in curves]
        statements.append(
            Statement(
                claims["earlier"],
                early[0] > early[1],
                f"Mean test accuracy of the first {third} epochs: {early[0]:.3f} with steps, "
                f"{early[1]:.3f} with the cosine.",
            )
        )
        within = data["equal_within"]
        statements.append(
            Statement(
                claims["equal"],
                abs(ends[0] - ends[1]) < within,
                f"{ends[0]:.3f} with steps, {ends[1]:.3f} with the cosine; equal within {within}.",
            )
        )
    return statements


def _resnet50(data: dict[str, Any], shown: list[dict[str, Any]]) -> list[Statement]:
    recipe, schedules = data["resnet50"], resnet50_schedules()
    steps_per_epoch = math.ceil(recipe["images"] / recipe["batch_size"])
    total, warmup = recipe["epochs"] * steps_per_epoch, recipe["warmup_epochs"] * steps_per_epoch
    step, cosine = (schedules[decay].values(total).astype(np.float64) for decay in DECAYS)
    top = recipe["published_base_learning_rate"]
    t = np.arange(total - warmup)
    formula = 0.5 * (1 + np.cos(np.pi * t / (total - warmup))) * top
    off = float(np.abs(cosine[warmup:] - formula).max() / top)
    quarter = (total - warmup) // 4
    middle = cosine[warmup + quarter : warmup + 3 * quarter]
    line = np.linspace(middle[0], middle[-1], len(middle))
    bent = float(np.abs(middle - line).max() / top)
    marks = [recipe["warmup_epochs"], *recipe["step_epochs"]]
    levels = [float(step[epoch * steps_per_epoch]) for epoch in marks]
    drops = [a / b for a, b in itertools.pairwise(levels)]
    statements = [
        Statement(
            f"At batch size {recipe['batch_size']} the rule gives ResNet-50 a rate of {top}, and "
            "the cosine decay is 0.5 * (1 + cos(pi * t / T)) times it.",
            bool(np.isclose(step[warmup], top, rtol=1e-6) and off < 1e-6),
            f"Rate {step[warmup]:.6g} after {warmup:,} steps of warm-up; over the {total:,} steps "
            f"the curve is nowhere off the formula by more than {off:.1e} of it.",
        ),
        Statement(
            data["claims"]["linear"],
            bent < 0.05 and all(math.isclose(drop, 10, rel_tol=1e-5) for drop in drops),
            f"In the middle half the cosine is off a straight line by at most {bent:.1%} of the "
            f"highest rate; the steps go {' to '.join(f'{level:g}' for level in levels)}.",
        ),
    ]
    for result in shown:
        rates, losses = result["learning_rate"], result["mean_loss"]
        planned = schedules["cosine decay"].values(len(rates))
        statements.append(
            Statement(
                "ResNet-50 from keras.applications trains under that schedule.",
                bool(np.allclose(rates, planned, rtol=1e-5) and np.isfinite(losses).all()),
                f"{len(rates)} steps of a network of {result['parameters']:,} parameters on small "
                f"images: rates {', '.join(f'{rate:.3g}' for rate in rates)}, mean loss "
                f"{losses[0]:.2f} to {losses[-1]:.2f}.",
            )
        )
    return statements


def _resnet50_picture(data: dict[str, Any]) -> LineFigure:
    recipe = data["resnet50"]
    steps_per_epoch = math.ceil(recipe["images"] / recipe["batch_size"])
    lines = {}
    for name, schedule in resnet50_schedules().items():
        rates = schedule.values(recipe["epochs"] * steps_per_epoch)[:: steps_per_epoch // 10]
        epochs = np.linspace(0, recipe["epochs"], len(rates), endpoint=False)
        lines[name] = (epochs.tolist(), rates.astype(float).tolist())
    return LineFigure(
        f"ResNet-50 on ImageNet, batch size {recipe['batch_size']}", "epoch", "learning rate", lines
    )


PART = Part("large-batch", "Large batches: the linear scaling rule", _jobs, _findings, images=True)
