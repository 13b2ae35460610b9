"""MRC files in parts (https://www.ccpem.ac.uk/mrc_format/mrc2014.php)."""

from __future__ import annotations

import json
import logging
import shlex
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError, optional_library
from scsam_monai.io.checks import say_once
from scsam_monai.io.formats.source import Box, MappedArray, Stored
from scsam_monai.io.voxel_size import NM_PER_UNIT

logger = logging.getLogger(__name__)

SUFFIXES = (".mrc", ".rec", ".st", ".map")

_HEADER_BYTES = 1024
_REAL_MODES = (0, 1, 2, 6, 12)  # int8, int16, float32, uint16, float16
_STACKS, _MZ_AT = range(401, 631), 36
"""Space groups of stacks of volumes, and the byte of the sections in each."""
_IMOD_STAMP, _IMOD_SIGNED = 1146047817, 1
_IMOD_AT = 40
"""Bytes before IMOD's stamp and flags in the extra space from byte 112 on."""


def as_imod_shows(path: str | Path) -> str:
    """What to add to values below 0 of a file: IMOD shows bytes with a sign plus 128; empty for other files.

    Args:
        path: of any file, or another name of labels.
    """
    path = Path(path)
    if not path.name.lower().endswith(SUFFIXES) or not path.is_file():
        return ""
    import mrcfile

    with (
        warnings.catch_warnings(action="ignore"),
        mrcfile.open(path, permissive=True, header_only=True) as file,
    ):
        signed = int(file.header.mode) == 0 and (_imod_flags(file.header) or 0) & _IMOD_SIGNED
    return " (IMOD shows these values plus 128)" if signed else ""


class MrcSource:
    """Header by ``mrcfile``, values mapped. One that breaks the rules is read if it makes sense, and said."""

    def __init__(self, path: Path) -> None:
        mrcfile = optional_library("mrcfile", path, "reads this format", "formats")
        with (
            warnings.catch_warnings(record=True) as met,
            mrcfile.open(path, mode="r", permissive=True, header_only=True) as file,
        ):
            header = file.header.copy()
        _check_mode(path, int(header.mode), met)
        if min(int(header.nx), int(header.ny), int(header.nz)) < 1:
            raise InputError(path, expected="a readable image", met="no size", remedy="check that it is MRC")
        for text in dict.fromkeys(str(warning.message) for warning in met):
            say_once(logger, "%s: %s; read all the same, look at the result", path, text)
        _check_stack(path, header)
        shape = _of_one_volume(path, mrcfile.utils.data_shape_from_header(header))
        dtype = mrcfile.utils.data_dtype_from_header(header)
        if int(header.mode) == 0 and (_imod_unsigned(header) or _beyond_signed(path, header)):
            dtype = np.dtype(np.uint8)
        self._mapped = MappedArray(path, _HEADER_BYTES + int(header.nsymbt), shape, dtype)
        self._mapped.check_size()
        axes = _axes(path, (int(header.maps), int(header.mapr), int(header.mapc)))[-len(shape) :]
        size = tuple(dict(zip("zyx", _voxel_size(header), strict=True))[axis] for axis in axes)
        self.stored = Stored(path, shape, dtype, axes, size)
        self.chunk = self._mapped.chunk

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        return self._mapped.read(box)

    def close(self) -> None:
        """Nothing is held open."""


def _check_mode(path: Path, mode: int, met: list[warnings.WarningMessage]) -> None:
    if mode not in _REAL_MODES:
        doubts = "".join(f", {warning.message}" for warning in met[:2])
        raise InputError(
            path,
            expected=f"real grey values, of mode {', '.join(map(str, _REAL_MODES))}",
            met=f"mode {mode}{doubts}",
            remedy="check that it is MRC" if met else "convert it, in IMOD by newstack -mode",
        )


def _check_stack(path: Path, header: Any) -> None:
    """Refuse a stack of volumes (space groups from 401 on) whose sections are not those of whole volumes."""
    sections, of_each = int(header.nz), int(header.mz)
    if int(header.ispg) not in _STACKS or (of_each > 0 and sections % of_each == 0):
        return
    order = "little" if header.mz.dtype.newbyteorder("=").str == header.mz.dtype.str else "big"
    number = f'({sections}).to_bytes(4, "{order}")'
    code = f'f = open({json.dumps(str(path))}, "r+b"); f.seek({_MZ_AT}); f.write({number})'
    raise InputError(
        path,
        expected=f"whole volumes in its {sections} sections (space group {int(header.ispg)})",
        met=f"{of_each} sections for each, as mz",
        remedy=f"write the right number; if it is one volume, python -c {shlex.quote(code)}",
    )


def _of_one_volume(path: Path, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of the volume in a stack of volumes that holds one, or of volumes of one section each."""
    if len(shape) > 3 and shape[0] > 1 and shape[1] > 1:
        one, stack = (json.dumps(str(name)) for name in (path.with_name(f"{path.stem}_0.mrc"), path))
        code = f"import mrcfile as m; m.write({one}, m.read({stack})[0])"
        raise InputError(
            path,
            expected="one volume",
            met=f"a stack of {shape[0]} volumes of shape {shape[1:]}",
            remedy=f"save one as its own file and give --voxel-size-nm, like python -c {shlex.quote(code)}",
        )
    return (shape[0] * shape[1], *shape[2:]) if len(shape) > 3 else shape


def _axes(path: Path, stated: tuple[int, ...]) -> str:
    """The letters of sections, rows and columns, from numbers of which 1 is x."""
    if sorted(stated) == [1, 2, 3]:
        return "".join("xyz"[number - 1] for number in stated)
    if stated != (0, 0, 0):
        raise InputError(
            path,
            expected="1, 2 and 3 (x, y, z) as mapc, mapr and maps",
            met=", ".join(str(number) for number in reversed(stated)),
            remedy="write them into its header, in IMOD by alterheader",
        )
    say_once(
        logger, "%s: mapc, mapr and maps are 0; taken for columns, rows and sections along x, y, z", path
    )
    return "zyx"


def _imod_flags(header: Any) -> int | None:
    """IMOD's flags; None where the file has no stamp of IMOD."""
    words = np.frombuffer(header.extra2.tobytes(), header.mode.dtype, count=2, offset=_IMOD_AT)
    stamp, flags = (int(word) for word in words)
    return flags if stamp == _IMOD_STAMP else None


def _imod_unsigned(header: Any) -> bool:
    # MRC2014 says that bytes are signed; IMOD wrote them unsigned, and says which in its part of the header.
    flags = _imod_flags(header)
    return flags is not None and not flags & _IMOD_SIGNED


def _beyond_signed(path: Path, header: Any) -> bool:
    """Whether bytes of which IMOD says nothing have a highest value that bytes with a sign do not reach."""
    low, high = float(header.dmin), float(header.dmax)
    if _imod_flags(header) is not None or not (low >= 0 and 127 < high <= 255):
        return False
    say_once(
        logger,
        "%s: bytes read without a sign, though MRC gives them one: its header states values from %g to %g",
        *(path, low, high),
    )
    return True


def _voxel_size(header: Any) -> tuple[float | None, ...]:
    """(z, y, x) in nm, or all None."""
    cell = [float(header.cella[axis]) for axis in "zyx"]
    grid = [int(header[name]) for name in ("mz", "my", "mx")]
    if min(cell) <= 0 or min(grid) <= 0:
        return None, None, None
    # Single precision: 7 digits are what the file states.
    return tuple(
        float(f"{length / count * NM_PER_UNIT['angstrom']:.7g}")
        for length, count in zip(cell, grid, strict=True)
    )
