"""The workers of a cluster: the chief, means over all workers, and lost workers."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from keraslr.training._result import ClusterError

# TensorFlow raises any of these where a worker is lost.
_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.FailedPreconditionError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


def mean_over_workers(distribution_strategy: tf.distribute.Strategy | None, value: float) -> float:
    """Returns the mean of the workers' values; each worker of the cluster has to call it."""
    if distribution_strategy is None or not _workers(distribution_strategy):
        return value
    own = distribution_strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant(value, tf.float32)
    )
    return float(distribution_strategy.reduce(tf.distribute.ReduceOp.MEAN, own, axis=None))


def is_chief(distribution_strategy: tf.distribute.Strategy) -> bool:
    """Returns whether this process is the only worker, or the first one."""
    workers = _workers(distribution_strategy)
    if not workers:
        return True
    resolver = distribution_strategy.cluster_resolver
    # Without a task named "chief", the chief is the first worker.
    return resolver.task_type == "chief" or ("chief" not in workers and resolver.task_id == 0)


@contextlib.contextmanager
def lost_workers_named(distribution_strategy: tf.distribute.Strategy | None) -> Iterator[None]:
    """Turns TensorFlow's errors about a lost worker into a `ClusterError`."""
    if distribution_strategy is None or not _workers(distribution_strategy):
        yield
        return
    try:
        yield
    except _LOST as error:
        resolver = distribution_strategy.cluster_resolver
        raise ClusterError(
            f"another worker of the cluster {json.dumps(_workers(distribution_strategy))} is lost, "
            f"and this worker ({resolver.task_type} {resolver.task_id}) cannot continue alone: "
            "start all workers again. With a backup they continue after the last whole epoch"
        ) from error


def require_synchronous(distribution_strategy: Any, batch_size: int) -> None:
    """Raises a `TypeError` or `ValueError` unless the replicas can train as one device does."""
    if not isinstance(distribution_strategy, tf.distribute.Strategy):
        raise TypeError(
            "distribution_strategy must be a tf.distribute.Strategy. "
            f"Received: {distribution_strategy!r}"
        )
    if isinstance(distribution_strategy, tf.distribute.ParameterServerStrategy):
        raise ValueError(
            "distribution_strategy must be synchronous, such as MirroredStrategy. "
            f"Received: {type(distribution_strategy).__name__}"
        )
    if batch_size < distribution_strategy.num_replicas_in_sync:
        raise ValueError(
            "batch_size must be at least the number of replicas. Received: "
            f"batch_size={batch_size}, {distribution_strategy.num_replicas_in_sync} replicas"
        )


def _workers(distribution_strategy: tf.distribute.Strategy) -> dict[str, list[str]]:
    """Returns the addresses of a cluster's workers by task type; empty for one process."""
    resolver = distribution_strategy.cluster_resolver
    cluster = {} if resolver is None else resolver.cluster_spec().as_dict()
    tasks = {kind: cluster[kind] for kind in ("chief", "worker") if kind in cluster}
    return tasks if sum(map(len, tasks.values())) > 1 else {}
