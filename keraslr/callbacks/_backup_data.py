"""Where a run stands in its data: the random state, the order, and the way back to a batch."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
from keras.src.backend.common import global_state  # of no public name: its own random state

from keraslr.callbacks._attached import read

# Random state.


def random_state() -> dict[str, np.ndarray]:
    """Returns the state of the generators that shuffle: Python's, NumPy's, PyTorch's, Keras's."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    assert (version, kind) == (3, "MT19937")
    state = {
        "python": np.array(words, np.uint64),
        "python_gauss": np.array([] if gauss is None else [gauss], np.float64),
        "numpy": np.append(keys, np.uint32(position)),
        "numpy_gauss": np.array([has_gauss, cached], np.float64),
    }
    if keras.backend.backend() == "torch":
        state["torch"] = sys.modules["torch"].get_rng_state().numpy()
    own = global_state.get_global_attribute("global_seed_generator")
    if own is not None:
        state["keras"] = read(own.state)
    return state


def restore_random_state(state: dict[str, np.ndarray]) -> None:
    """Puts the generators into a state that `random_state` has returned."""
    gauss = state["python_gauss"].tolist()
    random.setstate((3, tuple(state["python"].tolist()), gauss[0] if gauss else None))
    has_gauss, cached = state["numpy_gauss"].tolist()
    keys = state["numpy"]
    np.random.set_state(("MT19937", keys[:-1], int(keys[-1]), int(has_gauss), cached))
    if "torch" in state and keras.backend.backend() == "torch":
        torch = sys.modules["torch"]
        torch.set_rng_state(torch.from_numpy(state["torch"]))
    own = global_state.get_global_attribute("global_seed_generator")
    if own is not None and "keras" in state:
        own.state.assign(state["keras"])


# Order.


def order(data: Any) -> dict[str, Any]:
    """Returns what decides on the order of the data, for the backup: equal order, equal facts.

    Args:
        data: The epoch iterator of `fit`.
    """
    adapter = data.data_adapter
    facts: dict[str, Any] = {"kind": type(adapter).__name__, "in_one_stream": in_one_stream(data)}
    if facts["kind"] == "ArrayDataAdapter":
        facts["shuffle"] = bool(adapter._shuffle)
        if adapter._shuffle and keras.backend.backend() == "tensorflow":
            facts["tensorflow_seed"] = _seed_of_tensorflow()
    elif facts["kind"] == "PyDatasetAdapter":
        facts["shuffle"] = bool(adapter.shuffle)
        facts["workers"] = adapter.enqueuer is not None
    elif facts["kind"] == "TFDatasetAdapter" and not hasattr(adapter._dataset, "_inputs"):
        facts["kind"] = type(adapter._dataset).__name__  # one that is distributed already
    elif facts["kind"] == "TFDatasetAdapter":
        facts["shuffles"] = list(_shuffles(adapter._dataset))
        facts["deterministic"] = adapter._dataset.options().deterministic is not False
    elif facts["kind"] == "TorchDataLoaderAdapter":
        facts["sampler"] = type(getattr(adapter._dataloader, "sampler", None)).__name__
    return facts


def why_unknown(saved: dict[str, Any], now: dict[str, Any], epoch: int) -> str | None:
    """Returns why the order of the interrupted epoch cannot be had again; None if it can.

    Args:
        saved: What `order` returned for the backup.
        now: What it returns for the data of the run that resumes.
        epoch: The interrupted epoch.
    """
    kind, one_stream = now["kind"], now["in_one_stream"]
    if saved != now:
        changed = ", ".join(sorted(each for each in now if saved.get(each) != now[each]))
        return f"the data of this fit are ordered otherwise than the backup's ({changed})"
    if kind == "TFDatasetAdapter":
        if not now["deterministic"]:
            return "the tf.data.Dataset has the option deterministic=False"
        if any(seeds == [0, 0] for seeds, _ in now["shuffles"]):
            return "the tf.data.Dataset is shuffled without a seed"
        if epoch and not one_stream and any(again for _, again in now["shuffles"]):
            return "the tf.data.Dataset is shuffled in another order for each epoch"
        return None
    if kind == "TorchDataLoaderAdapter":
        # Both take what is random from PyTorch's own generator, whose state is in the backup.
        known = now["sampler"] in ("SequentialSampler", "RandomSampler")
        return None if known else f"the DataLoader has a {now['sampler']}"
    if kind == "GeneratorDataAdapter":
        return "a generator's order is known to itself alone"
    if kind not in ("ArrayDataAdapter", "PyDatasetAdapter"):
        return f"they are of a kind that does not tell it ({kind})"
    if now.get("workers") and keras.backend.backend() != "tensorflow":
        # Keras builds the model with one batch; each epoch then begins with those that were ready.
        return "the workers of a PyDataset carry batches over to the next epoch"
    if not now["shuffle"]:
        return None
    if one_stream:
        return "the data are shuffled, and steps_per_epoch lets epochs begin amid them"
    if "tensorflow_seed" in now and now["tensorflow_seed"] is None:
        return "TensorFlow has shuffled the arrays without a seed (shuffle=True)"
    return None


def in_one_stream(data: Any) -> bool:
    """Returns whether an epoch goes on in the data where the one before has ended."""
    return bool(data.steps_per_epoch)


def _seed_of_tensorflow() -> int | None:
    # Of no public name. With a seed, Keras's shuffling of arrays has the same order in each epoch.
    from tensorflow.python.eager import context

    return context.global_seed()


def _shuffles(dataset: Any) -> Iterator[list[Any]]:
    """Gives the seeds of each shuffle on the way to a dataset, and whether each epoch has its own.

    As lists, which is how JSON gives them back.
    """
    if "Shuffle" in type(dataset).__name__:
        seeds = [int(read(getattr(dataset, name, 0))) for name in ("_seed", "_seed2")]
        yield [seeds, bool(getattr(dataset, "_reshuffle_each_iteration", True))]
    for source in dataset._inputs():
        yield from _shuffles(source)


# Way back.


def can_go_to_a_step(data: Any) -> bool:
    """Returns whether `go_to` knows this epoch iterator, which is None outside of Keras's `fit`."""
    return hasattr(data, "_enumerate_iterator")


def go_to(
    model: keras.Model,
    data: Any,
    before: int,
    steps: int,
    begin: Callable[[], None],
    resume: Callable[[Any], None],
) -> None:
    """Has the next epoch of a `fit` begin with a later step, as if the steps before were trained.

    Their batches are drawn and dropped, without a call of the callbacks.

    Args:
        model: The model that is trained.
        data: The epoch iterator of `fit`.
        before: Batches that earlier epochs have drawn from the same stream.
        steps: Steps of this epoch that are trained already.
        begin: Called before a batch is drawn.
        resume: Called with the last batch that is dropped, when the next step is to be trained.
    """
    original, size = data._enumerate_iterator, data.steps_per_execution

    def draw(iterator: Any, count: int) -> Any:
        batch = None
        for _ in range(count):
            try:
                batch = next(iterator)
            except StopIteration:
                raise other_data() from None
        return batch

    def other_data() -> ValueError:
        return ValueError(
            "the data must be those of the interrupted fit, which has trained "
            f"{before + steps} batches of them. Received: data with fewer. Give fit the same data, "
            "or delete the backup"
        )

    def enumerate_rest() -> Iterator[Any]:
        del data._enumerate_iterator  # later epochs are whole
        begin()
        batch = None
        if before:
            data._current_iterator = iter(data._get_iterator())
            batch = draw(data._current_iterator, before)
            data._steps_seen = before
        done, resumed = 0, False
        no_batch_left: Callable[[], bool] = bool  # which is False
        for each in original():
            if done < steps:
                batch = draw(each[-1], size)
                done += size
                continue
            if not resumed:
                resumed = True
                resume(batch)
                if data.num_batches is None:
                    no_batch_left = _report_if_no_batch_is_left(model)
            yield each
            if no_batch_left():
                data.data_adapter.on_epoch_end()
                return
        if done < steps:
            raise other_data()
        if not resumed:
            resume(batch)

    data._enumerate_iterator = enumerate_rest


def _report_if_no_batch_is_left(model: keras.Model) -> Callable[[], bool]:
    """Has the next step report the metrics as they are, if no batch is left for it.

    Of data of unknown length, the steps of the backup may have been all. Keras takes the figures of
    an epoch from its last step, and would have none. (Under PyTorch it is not the step that takes
    the batch, and there is no such backup.)

    Returns:
        Whether that was so, to be asked after the step.
    """
    step, logs = model.train_function, model.get_metrics_result()
    through = []

    def first_step(*arguments: Any) -> Any:
        model.train_function = step
        try:
            return step(*arguments)
        except Exception as error:
            if type(error).__name__ not in ("StopIteration", "OutOfRangeError"):
                raise
        through.append(True)
        return logs if len(arguments) == 1 else (logs, arguments[0])  # JAX: and the state

    model.train_function = first_step
    return lambda: bool(through)
