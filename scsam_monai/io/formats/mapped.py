"""Arrays that lie in a file as they are, mapped into memory for the length of one read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.formats.source import Box

_MAPPED_BYTES = 2**22
"""Mapped at a time: pages that are mapped count as memory of the process until they are let go."""


@dataclass(frozen=True)
class MappedArray:
    """An uncompressed array in C order inside a file.

    Every read maps its own rows, a few at a time, and lets go of them: pages of a map that stays would count as
    memory of the process until, at the end of a run, the whole volume did.

    Attributes:
        path: the file.
        offset: bytes before the first value.
        shape: of the array.
        dtype: of the values, byte order included.
    """

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def check_size(self) -> None:
        """Refuse a file that ends before the array does.

        Raises:
            InputError: naming both sizes.
        """
        end = self.offset + math.prod(self.shape) * self.dtype.itemsize
        size = self.path.stat().st_size
        if size < end:
            raise InputError(
                self.path,
                expected=f"{end} bytes or more",
                met=f"a file cut off at {size} bytes",
                remedy="copy or export it again",
            )

    @property
    def chunk(self) -> tuple[int, ...]:
        """One row."""
        return (*(1 for _ in self.shape[:-1]), self.shape[-1])

    def read(self, box: Box) -> np.ndarray:
        """Copy the values in ``box``."""
        first, *rest = box
        values = np.empty([bounds.stop - bounds.start for bounds in box], self.dtype)
        row_bytes = math.prod(self.shape[1:]) * self.dtype.itemsize
        step = max(1, _MAPPED_BYTES // max(1, row_bytes))
        for start in range(first.start, first.stop, step):
            rows = min(step, first.stop - start)
            offset, shape = self.offset + start * row_bytes, (rows, *self.shape[1:])
            mapped = np.memmap(self.path, self.dtype, "r", offset, shape)
            values[start - first.start :][:rows] = mapped[(slice(None), *rest)]
        return values
