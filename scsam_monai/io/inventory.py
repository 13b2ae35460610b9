"""What files a volume was read from, to tell when one of them changes or vanishes.

Kept of each file are 16 bytes, so that a volume of a million chunks takes 16 MB; one walk lists and looks at them.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from hashlib import blake2b
from pathlib import Path

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.image import Region
from scsam_monai.io.volume import VolumeReader, open_volume

REMEDY = "bring it back and add --resume, or remove the unfinished output and start anew"
_EXPECTED = "the input as it was when the run was planned"


class Inventory:
    """Names, sizes and times of change of the files behind a volume, as they are now.

    Args:
        volume: opened; of an array in memory there are no files.

    Raises:
        InputError: the place of the files cannot be read any more.
    """

    def __init__(self, volume: VolumeReader) -> None:
        self._place = str(volume.place)
        table = array("Q")
        try:
            for file in volume.files():
                table.extend((self._name(file), _state(file)))
        except OSError as error:
            raise _changed(volume.path, f"{os.strerror(error.errno or 0)} where it was") from error
        rows = np.frombuffer(table, np.uint64).reshape(-1, 2) if table else np.empty((0, 2), np.uint64)
        self._rows = rows[np.argsort(rows[:, 0], kind="stable")]

    def __len__(self) -> int:
        """Number of files."""
        return len(self._rows)

    @cached_property
    def digest(self) -> str:
        """A short text that is another one as soon as a file is added, removed or changed."""
        whole = blake2b(np.ascontiguousarray(self._rows).tobytes(), digest_size=8)
        return f"{len(self)} files, {whole.hexdigest()}"

    def holds(self, file: str | os.PathLike[str]) -> bool:
        """Whether a file was there."""
        return self._find(self._name(file)) is not None

    def check_all(self, volume: VolumeReader) -> None:
        """List all files again and compare them.

        Args:
            volume: the same.

        Raises:
            InputError: naming the first that was changed or added, or how many are gone.
        """
        left = 0
        try:
            for file in volume.files():
                self.check([file])
                left += 1
        except OSError as error:
            raise _changed(volume.path, f"{os.strerror(error.errno or 0)} where it was") from error
        if left < len(self):
            raise _changed(volume.path, f"{len(self) - left} of {len(self)} files gone")

    def check(self, files: Iterable[str | os.PathLike[str]]) -> None:
        """Compare some files with what they were.

        Args:
            files: that may have been there or not, like the chunks of a zarr array.

        Raises:
            InputError: naming the first that was changed, removed or added.
        """
        for file in files:
            was, now = self._find(self._name(file)), _state(file)
            if (was or 0) != now:
                met = (
                    "no such file any more" if not now else "a file that was not there" if was is None else ""
                )
                raise _changed(file, met or f"one changed at {_time_of(file)}")

    def _name(self, file: str | os.PathLike[str]) -> int:
        name = os.fspath(file)
        if not name.startswith(self._place):  # of files that name each other
            return _hash(os.path.relpath(os.path.realpath(name), Path(self._place).resolve().parent))
        return _hash(name[len(self._place) :])

    def _find(self, name: int) -> int | None:
        row = int(np.searchsorted(self._rows[:, 0], np.uint64(name)))
        return int(self._rows[row, 1]) if row < len(self) and self._rows[row, 0] == name else None


def digest_of(path: str | Path, axes: str | None = None) -> str:
    """Return the :attr:`Inventory.digest` of a file or folder: by it one is told from another of its name.

    Args:
        path: of any format that is read.
        axes: letters of its axes, if it does not say.

    Raises:
        InputError: it cannot be read.
    """
    with open_volume(path, axes=axes) as volume:
        return Inventory(volume).digest


class WatchedVolume:
    """A volume whose parts are given only while the files they are read from are what they were.

    Args:
        volume: read by region.
        inventory: of its files when the run was planned.
    """

    def __init__(self, volume: VolumeReader, inventory: Inventory) -> None:
        self.volume, self.inventory = volume, inventory

    def read(self, region: Region) -> np.ndarray:
        """Read a part, then look at the files that hold it: a chunk that vanished would read as empty.

        Raises:
            InputError: one of them is not what it was.
        """
        try:
            part = self.volume.read(region)
        except InputError:
            self.inventory.check(self.volume.files(region))  # the cause, if it is this
            raise
        self.inventory.check(self.volume.files(region))
        return part


def _state(file: str | os.PathLike[str]) -> int:
    """Hash of a file's size and time of change; 0 where there is none."""
    try:
        status = Path(file).stat()
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise _changed(file, os.strerror(error.errno or 0)) from error
    return _hash(f"{status.st_size} {status.st_mtime_ns}") or 1


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(os.fsencode(text), digest_size=8).digest(), "little")


def _time_of(file: str | os.PathLike[str]) -> str:
    return datetime.fromtimestamp(Path(file).stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _changed(file: str | os.PathLike[str], met: str) -> InputError:
    return InputError(os.fspath(file), expected=_EXPECTED, met=met, remedy=REMEDY)
