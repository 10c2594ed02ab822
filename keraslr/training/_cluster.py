"""The workers of a cluster: who is chief, what they have in common, and who is gone."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keraslr.training._result import ClusterError

# What TensorFlow raises, now this and now that, where a worker is gone.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def mean_over_workers(strategy: tf.distribute.Strategy | None, value: float) -> float:
    """The mean of what the workers of the cluster have; each has to ask."""
    if strategy is None or not _workers(strategy):
        return value
    own = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(value, tf.float32)
    )
    return float(strategy.reduce(tf.distribute.ReduceOp.MEAN, own, axis=None))


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this is the only worker, or the first one."""
    workers = _workers(strategy)
    if not workers:
        return True
    resolver = strategy.cluster_resolver
    # Without a task that is called so, it is the first worker.
    return resolver.task_type == "chief" or ("chief" not in workers and resolver.task_id == 0)


@contextlib.contextmanager
def lost_workers_named(strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """What TensorFlow says of a lost worker, as a `ClusterError`."""
    if strategy is None or not _workers(strategy):
        yield
        return
    try:
        yield
    except _LOST as error:
        resolver = strategy.cluster_resolver
        raise ClusterError(
            f"another worker of the cluster {json.dumps(_workers(strategy))} is gone, and this one "
            f"({resolver.task_type} {resolver.task_id}) cannot go on alone: start all of them "
            "again. With a backup they go on after the last whole epoch"
        ) from error


def require_synchronous(strategy: Any, batch_size: int) -> None:
    """A `TypeError` or `ValueError` where the strategy cannot train as one device does."""
    if not isinstance(strategy, tf.distribute.Strategy):
        raise TypeError(
            f"distribution_strategy must be a tf.distribute.Strategy. Received: {strategy!r}"
        )
    if isinstance(strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "distribution_strategy must be a synchronous one, such as MirroredStrategy. "
            f"Received: {type(strategy).__name__}"
        )
    if batch_size < strategy.num_replicas_in_sync:
        raise ValueError(
            "batch_size must hold an example for each replica. Received: "
            f"batch_size={batch_size}, {strategy.num_replicas_in_sync} replicas"
        )


def _workers(strategy: tf.distribute.Strategy) -> dict[str, list[str]]:
    """The addresses of a cluster's workers, by the kind of their task; empty for one process."""
    resolver = strategy.cluster_resolver
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    tasks = {kind: cluster[kind] for kind in ("chief", "worker") if kind in cluster}
    return tasks if sum(map(len, tasks.values())) > 1 else {}
