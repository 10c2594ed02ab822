"""A folder of backups, each written whole or not at all.

A backup is a folder of its own, with the weights, other state, and `metadata.json`, which has the
checksums of the files and of itself. It is written under another name, then renamed: one step for
the file system, so a kill leaves all of it or nothing. The one before is removed only afterwards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from keraslr._files import write_whole

WEIGHTS = "model.weights.h5"
STATE = "state.npz"
_METADATA = "metadata.json"
_FORMAT = 1
_NAME = re.compile(r"backup-(\d{8,})")
# Of a backup that is being written, and of one that is being removed. A kill can leave either.
_UNFINISHED = (".writing-", ".removing-")

# The files of Keras's own callback, the newest first.
_OF_KERAS = (
    ("latest.weights.h5", "training_metadata.json"),
    ("latest.weights.h5.bkp", "training_metadata.json.bkp"),
)


class Backup(NamedTuple):
    """A backup that is whole.

    Attributes:
        path: Its folder, or the weights file of Keras's own callback.
        facts: What its metadata says, `epoch` and `step` among others.
        of_keras: Whether Keras's own callback has written it.
    """

    path: Path
    facts: dict[str, Any]
    of_keras: bool

    @property
    def place(self) -> str:
        """Where it stands, counted from 1 as Keras prints epochs."""
        return _place(self.facts)

    @contextlib.contextmanager
    def weights(self) -> Iterator[Path]:
        """Gives a weights file with a name that `load_weights` accepts."""
        if not self.of_keras:
            yield self.path / WEIGHTS
        elif self.path.suffix == ".h5":
            yield self.path
        else:
            with tempfile.TemporaryDirectory() as folder:
                yield Path(shutil.copy(self.path, Path(folder) / WEIGHTS))


class DamagedError(Exception):
    """A backup is not whole; the text says why, and where it stood if that can be read."""


class Backups:
    """The backups in a folder.

    Args:
        folder: The folder, which need not exist yet.
        kept: How many to keep: 2 for the newest and the one before.
    """

    def __init__(self, folder: str | os.PathLike[str], kept: int) -> None:
        self.folder, self._kept = Path(folder), kept
        self._whole: list[Path] = []

    def newest(self) -> tuple[Backup | None, list[str]]:
        """Returns the newest backup that is whole, and what is wrong with each newer one."""
        rejected = []
        self._whole = []
        for read, path in self._candidates():
            try:
                backup = read(path)
            except DamagedError as error:
                rejected.append(f"{path} is damaged: {error}")
                continue
            if not backup.of_keras:
                self._whole = [path]
            return backup, rejected
        return None, rejected

    def write(self, fill: Callable[[Path], dict[str, Any]]) -> Path:
        """Writes a backup, then removes those that are no longer kept.

        Args:
            fill: Writes files into the folder that it is given; returns the facts of the metadata.

        Raises:
            OSError: It cannot be written; the error names the folder, and the backups in it are
                still whole.
        """
        temporary = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            temporary = Path(tempfile.mkdtemp(dir=self.folder, prefix=_UNFINISHED[0]))
            facts = {"format": _FORMAT, **fill(temporary)}
            facts["files"] = {each.name: _synced(each) for each in sorted(temporary.iterdir())}
            write_whole(temporary / _METADATA, json.dumps({**facts, "sha256": _digest(facts)}))
            # mkdtemp's folders are open to their owner only; a backup is as open as other folders.
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o777 & ~umask)
            _sync(temporary)
            path = self.folder / f"backup-{self._last_number() + 1:08d}"
            os.rename(temporary, path)
            _sync(self.folder)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot write a backup: {error.strerror or error}", str(self.folder)
            ) from error
        finally:
            if temporary is not None:
                shutil.rmtree(temporary, ignore_errors=True)
        self._whole = [*self._whole, path][-self._kept :]
        for each in self._own():
            if each not in self._whole:
                self._remove(each)
        return path

    def tidy(self) -> None:
        """Removes what killed writes and removals have left."""
        for prefix in _UNFINISHED:
            for path in self.folder.glob(f"{prefix}*"):
                shutil.rmtree(path, ignore_errors=True)

    def remove_all(self) -> None:
        """Removes every backup, Keras's own too, and the folder if nothing else is in it."""
        self.tidy()
        # The oldest first: a kill in between leaves the newest.
        for pair in reversed(_OF_KERAS):
            for name in pair:
                (self.folder / name).unlink(missing_ok=True)
        for path in self._own():
            self._remove(path)
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _candidates(self) -> Iterator[tuple[Callable[[Path], Backup], Path]]:
        for path in reversed(self._own()):
            yield _read, path
        for weights, metadata in _OF_KERAS:
            if (self.folder / weights).exists() or (self.folder / metadata).exists():
                yield _read_of_keras, self.folder / weights

    def _own(self) -> list[Path]:
        """Returns the folders of backups, the oldest first."""
        found = self.folder.glob("backup-*")
        return sorted((each for each in found if _NAME.fullmatch(each.name)), key=_number)

    def _last_number(self) -> int:
        return max(map(_number, self._own()), default=0)

    def _remove(self, path: Path) -> None:
        # Under its name a backup is whole at every moment.
        doomed = path.with_name(f"{_UNFINISHED[1]}{path.name}")
        shutil.rmtree(doomed, ignore_errors=True)
        os.rename(path, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def _number(path: Path) -> int:
    return int(path.name.partition("-")[2])


def _place(facts: dict[str, Any]) -> str:
    return f"epoch {facts['epoch'] + 1}, step {facts['step'] + 1}"


def _read(path: Path) -> Backup:
    """Reads the metadata of a backup and checks all of its files."""
    facts = _metadata(path / _METADATA)
    sha256 = facts.pop("sha256", None)
    if sha256 != _digest(facts):
        raise DamagedError(f"the checksum in its {_METADATA} is another one")
    if facts["format"] != _FORMAT:
        raise ValueError(
            f"the backups must be of this version of keraslr. Received: {path} of format "
            f"{facts['format']}. Go on with the version that wrote it, or delete the folder"
        )
    for name, expected in facts["files"].items():
        why = ""
        try:
            if _sha256(path / name) != expected:
                why = f"{name} does not have its checksum"
        except OSError as error:
            why = f"{name} cannot be read ({error.strerror or error})"
        if why:
            raise DamagedError(f"{why} (it was of {_place(facts)})")
    return Backup(path, facts, of_keras=False)


def _read_of_keras(path: Path) -> Backup:
    """Reads a pair of files of Keras's own callback."""
    metadata = dict(_OF_KERAS)[path.name]
    found = _metadata(path.with_name(metadata))
    epoch, batch = found.get("epoch"), found.get("batch", 0)
    if not isinstance(epoch, int) or not isinstance(batch, int):
        raise DamagedError(f"its {metadata} has no epoch")
    # The number of the last batch of a part of an epoch; 0 is what a whole epoch has.
    facts = {"epoch": epoch, "step": batch + 1 if batch else 0}
    try:
        with h5py.File(path, "r") as file:
            # Reads every number; what is returned would end the visit.
            file.visititems(lambda _, item: _read_numbers(item))
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DamagedError(f"it cannot be read ({error}; it was of {_place(facts)})") from error
    return Backup(path, facts, of_keras=True)


def _read_numbers(item: Any) -> None:
    if isinstance(item, h5py.Dataset):
        item[()]


def _metadata(path: Path) -> dict[str, Any]:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DamagedError(f"its {path.name} is missing") from error
    except (OSError, ValueError) as error:
        raise DamagedError(f"its {path.name} cannot be read ({error})") from error
    if not isinstance(facts, dict):
        raise DamagedError(f"its {path.name} is no table of names")
    return facts


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)
    return digest.hexdigest()


def _synced(path: Path) -> str:
    """Has a file written to the disk; returns its checksum."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return _sha256(path)


def _sync(folder: Path) -> None:
    """Has the names in a folder written to the disk."""
    if os.name == "nt":  # where a folder cannot be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
