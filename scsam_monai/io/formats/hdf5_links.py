"""The other files that an HDF5 data set takes its values from. HDF5 itself reads 0 where one of them is missing."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

from scsam_monai.errors import InputError

_REMEDY = "bring it back to where it was, or save the data set in one file"


def linked_files(h5py: Any, path: Path, dataset: Any) -> list[Path]:
    """The files, resolved, behind a virtual data set, through any number of them, or one with external storage.

    Args:
        h5py: the library.
        path: the file of the data set.
        dataset: of h5py, open.

    Returns:
        each file once, without ``path``; none for a data set that its own file holds.

    Raises:
        InputError: a file is missing or cut off, or lacks the data set that is taken from it.
    """
    found: dict[Path, None] = {}
    seen: set[tuple[Path, str]] = set()
    _collect(h5py, path, path.resolve(), dataset, found, seen)
    found.pop(path.resolve(), None)
    return list(found)


def _collect(
    h5py: Any, path: Path, file: Path, dataset: Any, found: dict[Path, None], seen: set[tuple[Path, str]]
) -> None:
    for name, offset, size in dataset.external or ():
        found[_outside(path, name, offset, size)] = None
    if not dataset.is_virtual:
        return
    wanted: dict[Path, dict[str, None]] = {}
    for source in dataset.virtual_sources():
        for held in [file] if source.file_name == "." else _places(path, file, source.file_name):
            wanted.setdefault(held, {})[source.dset_name] = None
    for held, names in wanted.items():
        found[held] = None
        with h5py.File(held, "r") as inner:
            for name in names:
                if (held, name) in seen or re.search(r"%\d*b", name):  # by number, as many as there are
                    continue
                seen.add((held, name))
                if name not in inner:
                    raise InputError(
                        path,
                        expected=f"{name} in {held.name}, which its virtual data set is taken from",
                        met="no such data set there",
                        remedy=_REMEDY,
                    )
                _collect(h5py, path, held, inner[name], found, seen)


def _places(path: Path, file: Path, name: str) -> list[Path]:
    """Where HDF5 finds a source file: under its prefixes, beside the file, or from the working folder."""
    prefixes = [part for part in os.environ.get("HDF5_VDS_PREFIX", "").split(os.pathsep) if part]
    folders = [Path(part.replace("${ORIGIN}", str(file.parent))) for part in prefixes] + [file.parent, Path()]
    candidates = [folder / name for folder in folders]  # all the same where the name is absolute
    if Path(name).is_absolute():
        candidates += [folder / Path(name).name for folder in folders]
    for candidate in candidates:
        if re.search(r"%\d*b", candidate.name):  # files by number
            pattern = re.sub(r"%\d*b", "*", glob.escape(candidate.name))
            if files := sorted(candidate.parent.glob(pattern)):
                return [one.resolve() for one in files]
        elif (held := candidate.with_name(candidate.name.replace("%%", "%"))).exists():
            return [held.resolve()]
    raise InputError(
        path,
        expected="the files that its virtual data set is taken from",
        met=f"no {name}",
        remedy=_REMEDY,
    )


def _outside(path: Path, name: str, offset: int, size: int) -> Path:
    """A file of raw values, which HDF5 looks for from the working folder."""
    prefix = os.environ.get("HDF5_EXTFILE_PREFIX", "").replace("${ORIGIN}", str(path.resolve().parent))
    held = (Path(prefix) / name).resolve()
    if not held.exists():
        raise InputError(path, expected="the file that holds its values", met=f"no {held}", remedy=_REMEDY)
    end = offset + size if size < 2**63 else offset
    if held.stat().st_size < end:
        raise InputError(
            held,
            expected=f"{end} bytes or more",
            met=f"a file cut off at {held.stat().st_size} bytes",
            remedy="copy or export it again",
        )
    return held
