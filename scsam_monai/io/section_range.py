"""Some sections of a volume as a volume of their own, that knows the whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io.empty import EmptyParts, find_empty
from scsam_monai.io.image import Region, check_region
from scsam_monai.io.volume import VolumeReader
from scsam_monai.progress import Progress


class SectionRange:
    """Reads some sections of a volume; see :class:`~scsam_monai.io.volume.VolumeReader`.

    Args:
        whole: the volume; closed with this.
        first: its section that is number 0 here.
        last: the one after the last.
        option: to name in the error.

    Raises:
        InputError: the volume has no such sections.

    Example:
        >>> from scsam_monai.io import ArrayVolume
        >>> whole = ArrayVolume(np.arange(4, dtype=np.uint8).reshape(4, 1, 1))
        >>> SectionRange(whole, 1, 3).read([[0, 2], [0, 1], [0, 1]]).ravel().tolist()
        [1, 2]
    """

    def __init__(self, whole: VolumeReader, first: int, last: int, option: str = "--z") -> None:
        depth, height, width = whole.shape
        if not 0 <= first < last <= depth:
            raise InputError(
                option,
                expected=f"sections of {whole.path.name} from 0 to {depth}, the end excluded",
                met=f"{first}:{last}",
                remedy=f"like {option} 0:{depth}",
            )
        self.whole, self.first, self.last = whole, first, last
        self.path: Path = whole.path
        self.place: Path = whole.place
        self.shape = (last - first, height, width)
        self.ndim, self.dtype, self.voxel_size_nm = whole.ndim, whole.dtype, whole.voxel_size_nm
        self.chunk, self.order = whole.chunk, whole.order

    def read(self, region: Region) -> np.ndarray:
        """Read a part, (z, y, x) bounds counted from the first of these sections."""
        check_region(region, self.shape, where=self.path)
        return self.whole.read(self._in_whole(region))

    def files(self, region: Region | None = None) -> Iterable[str | Path]:
        """The files that hold a part; None lists those of the whole volume."""
        return self.whole.files(None if region is None else self._in_whole(region))

    def gaps(self) -> str | None:
        """What seems to be missing of the whole volume."""
        return self.whole.gaps()

    def close(self) -> None:
        """Close the volume."""
        self.whole.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _in_whole(self, region: Region) -> list[tuple[int, int]]:
        (z0, z1), *plane = region
        return [(int(z0) + self.first, int(z1) + self.first), *((int(a), int(b)) for a, b in plane)]


def some_sections(
    volume: VolumeReader, sections: tuple[int, int] | None, option: str = "--z"
) -> VolumeReader:
    """Return a range of a volume's sections, or the volume where none is asked for; closed on refusal.

    Raises:
        InputError: the volume has no such sections.
    """
    if sections is None:
        return volume
    try:
        return SectionRange(volume, *sections, option)
    except InputError:
        volume.close()
        raise


def whole_of(volume: VolumeReader) -> tuple[VolumeReader, tuple[int, int] | None]:
    """Return the volume that sections were taken of, and which these are; None for a whole volume."""
    if isinstance(volume, SectionRange):
        return volume.whole, (volume.first, volume.last)
    return volume, None


def known_empty(
    volume: VolumeReader, whole: EmptyParts | None = None, progress: Progress | None = None
) -> EmptyParts:
    """Return the empty parts of a volume; of a range of sections as they are in the whole volume.

    Args:
        volume: whole or a range.
        whole: empty parts of the whole volume; None looks for them.
        progress: called with the sections looked at and in all.
    """
    of, sections = whole_of(volume)
    empty = whole or find_empty(of, progress)
    return empty if sections is None else empty.of_sections(*sections)
