"""The parts that commands share: the parser, its errors, and common options."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any, NoReturn

from keraslr import catalog, datasets
from keraslr.schedules import Schedule


class UsageError(Exception):
    """An error in the command line or its data, explained in one line."""


class Parser(argparse.ArgumentParser):
    """A parser with one-line errors."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def checked(build: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Calls `build` and returns its result; turns its argument errors into a `UsageError`."""
    try:
        return build(*arguments, **named)
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from None


def count(text: str) -> int:
    """Reads an integer >= 1."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be >= 1, not {number}")
    return number


def add_dataset(command: argparse.ArgumentParser) -> None:
    """Adds `--dataset`."""
    command.add_argument(
        "--dataset", choices=datasets.NAMES, default="auto",
        help="auto: Fashion-MNIST, or scikit-learn's digits if it is unavailable",
    )  # fmt: skip


def add_dask(command: argparse.ArgumentParser) -> None:
    """Adds `--dask`."""
    command.add_argument(
        "--dask", metavar="ADDRESS",
        help="run on the Dask cluster with this scheduler address (needs keraslr[dask])",
    )  # fmt: skip


@contextlib.contextmanager
def dask_executor(options: argparse.Namespace) -> Iterator[Executor]:
    """Connects to the Dask cluster of `--dask`."""
    if options.jobs is not None:
        raise UsageError("--jobs must be left out with --dask: the cluster has its own workers")
    try:
        from distributed import Client
    except ImportError:
        raise UsageError("--dask needs Dask: pip install 'keraslr[dask]'") from None
    try:
        client = Client(options.dask, timeout=10)
    except (OSError, ValueError) as error:
        raise UsageError(f"--dask must be the address of a scheduler: {error}") from None
    with client:
        yield client.get_executor()


def strategy_schedule(name: str, **arguments: Any) -> Schedule:
    """Builds the schedule of a catalog entry; raises a `UsageError` if it has no curve."""
    strategy = checked(catalog.find, name)
    if not strategy.is_schedule:
        raise UsageError(f"{strategy.name} follows a metric, so it has no fixed curve")
    return checked(strategy.build, **arguments)
