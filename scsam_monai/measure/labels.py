"""A volume of class ids, read in parts, with its voxel size and the names of its classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL, UNKNOWN, plain_name
from scsam_monai.errors import InputError
from scsam_monai.io.checks import as_label_array
from scsam_monai.io.formats.mrc import as_imod_shows
from scsam_monai.io.image import Region, VoxelSize
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.stated_offset import stated_offset
from scsam_monai.io.volume import ArrayVolume, VolumeReader, open_volume, say_gaps_of_labels, voxel_size_of
from scsam_monai.io.voxel_size import as_voxel_size

Shape3 = tuple[int, int, int]
Labels = str | Path | np.ndarray | VolumeReader

BLOCK: Shape3 = (64, 256, 256)
"""Default block (z, y, x): two chunks of the label volumes that this package writes."""

LARGEST_ID = 50_000_000
"""Ids are looked up in tables of this length at most."""


class LabelReader:
    """Class ids or object ids in parts. A context manager: closes what it has opened.

    Args:
        labels: a file or folder of any format that is read, an opened one, or an array (y, x) or (z, y, x).
        voxel_size_nm: (z, y, x) in nm; goes before the one that the file states.
        class_names: by class id; names missing here are taken from a label volume of ours, or are ``class 3``.
        ignore_label: value of unknown voxels, which are read as they are; 255 is none where ``class_names`` has a
            name for it.
        dataset: in a file that holds several.
        axes: letters of the axes as the file or array stores them, like ``xyz``; None takes what the file says.

    Attributes:
        shape: (z, y, x).
        ndim: 2 for a single section, else 3.
        voxel_size_nm: (z, y, x).
        ignore_label: value of unknown voxels, -1 where there is none.

    Raises:
        InputError: nothing there, no integers, or no voxel size.
    """

    def __init__(
        self,
        labels: Labels,
        voxel_size_nm: Sequence[float] | None = None,
        class_names: Mapping[int, str] | Sequence[str] | None = None,
        *,
        ignore_label: int = 255,
        dataset: str | None = None,
        axes: str | None = None,
    ) -> None:
        self._closes, self._dataset = isinstance(labels, str | Path), dataset
        if isinstance(labels, np.ndarray):
            if voxel_size_nm is None:
                raise InputError(
                    "voxel_size_nm",
                    expected="a voxel size in nm (z, y, x) beside an array",
                    met="none",
                    remedy="give it, like (16, 16, 16)",
                )
            size = as_voxel_size(voxel_size_nm, labels.ndim)
            self.volume: VolumeReader = ArrayVolume(
                as_label_array("labels", labels), size, path="labels", axes=axes
            )
        elif isinstance(labels, str | Path):
            self.volume = open_volume(labels, dataset, axes)
        else:
            self.volume = labels
        try:
            self.voxel_size_nm = voxel_size_of(self.volume, voxel_size_nm)
        except InputError:
            self.close()
            raise
        self.path = self.volume.path
        if not isinstance(labels, np.ndarray):
            say_gaps_of_labels(self.path, self.volume)
        self.shape = self.volume.shape
        self.ndim = 2 if self.shape[0] == 1 else 3
        given = _given(class_names)
        self._names = self._stated() | given
        try:
            check_names(self._names)
        except InputError:
            self.close()
            raise
        named = given if isinstance(class_names, Mapping) and ignore_label == IGNORE_LABEL else {}
        self.ignore_label = ignore_label if named.get(ignore_label, UNKNOWN) == UNKNOWN else -1

    def _stated(self) -> dict[int, str]:
        legend = read_legend(self.path) if self.path.exists() else None
        return {} if legend is None else dict(enumerate(legend.class_names))

    def class_name(self, class_id: int) -> str:
        """The name of a class."""
        return self._names.get(class_id, f"class {class_id}")

    @property
    def offset_nm(self) -> VoxelSize:
        """(z, y, x) of the first voxel, where the file states that it is part of a larger volume."""
        offset = stated_offset(self.path, self._dataset)
        z, y, x = (n * edge for n, edge in zip(offset, self.voxel_size_nm, strict=True))
        return z, y, x

    @property
    def names(self) -> dict[int, str]:
        """The names that are known, by class id."""
        return dict(self._names)

    def class_ids(self, names: Sequence[str], option: str) -> list[int]:
        """The ids of classes that a user names, or whose number is given.

        Raises:
            InputError: no class has that name.
        """
        known = {name: class_id for class_id, name in self._names.items()}
        found = []
        for name in names:
            if name in known:
                found.append(known[name])
            elif name == BACKGROUND:
                found.append(0)
            elif name.isdigit():
                found.append(int(name))
            else:
                raise InputError(
                    option,
                    expected=f"a class: {', '.join(known) or 'its number'}",
                    met=name,
                    remedy="name one of them, or its number",
                )
        return found

    def read(self, region: Region) -> np.ndarray:
        """The ids of a part, (z, y, x) integers.

        Raises:
            InputError: values that are no whole numbers from 0 on.
        """
        return read_ids(self.volume, region)

    def known(self, region: Region) -> np.ndarray:
        """The class ids of a part, with 0 in place of unknown voxels."""
        part = self.read(region)
        return np.where(part == self.ignore_label, part.dtype.type(0), part)

    def check_classes(self, regions: Iterable[Region]) -> None:
        """Refuse labels without names that hold background and unknown voxels alone: these may be a mask.

        Args:
            regions: of the whole volume.

        Raises:
            InputError: naming both values.
        """
        values = set[int]()
        if not self._names:
            for region in regions:
                values |= set(np.unique(self.read(region)).tolist())
        if self.ignore_label in values and values <= {0, self.ignore_label}:
            raise unknown_alone(self.path, sorted(values), self.ignore_label)

    def close(self) -> None:
        """Close the file if this has opened it."""
        if self._closes:
            self.volume.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _given(names: Mapping[int, str] | Sequence[str] | None) -> dict[int, str]:
    pairs = names.items() if isinstance(names, Mapping) else enumerate(names or ())
    return {int(class_id): plain_name(str(name)) for class_id, name in pairs}


def check_names(names: Mapping[int, str]) -> None:
    """Refuse one name for several classes.

    Raises:
        InputError: naming the first such.
    """
    first: dict[str, int] = {}
    for class_id, name in names.items():
        if first.setdefault(name, class_id) != class_id:
            raise InputError(
                "class names",
                expected="a name of its own for each class",
                met=f"{name} for {first[name]} and {class_id}",
                remedy=f"name the classes apart, like --class {class_id}=NAME (in Python class_names)",
            )


def read_ids(volume: VolumeReader, region: Region) -> np.ndarray:
    """Read label values of a part, (z, y, x) integers, from a volume of any type.

    Args:
        volume: of labels.
        region: (z, y, x) bounds.

    Raises:
        InputError: values that are no whole numbers from 0 on.
    """
    part = as_label_array(volume.path, volume.read(region))
    part = part.astype(np.int64) if part.dtype == np.uint64 else part  # which NumPy does not count
    if part.dtype.kind == "i" and part.size and int(part.min()) < 0:
        raise InputError(
            volume.path,
            expected="label values from 0 on",
            met=f"{int(part.min())}{as_imod_shows(volume.path)}",
            remedy="make sure that this is the label file",
        )
    return part


def unknown_alone(
    where: str | Path, values: Sequence[int], ignore_label: int, name: str = "mitochondrion"
) -> InputError:
    """Return the error for labels in which nothing is known but background.

    Args:
        where: the file.
        values: that it holds.
        ignore_label: the one of them that counts as unknown.
        name: of a class, for an example.
    """
    return InputError(
        where,
        expected="voxels of a class",
        met=f"the value{'s' * (len(values) > 1)} {', '.join(map(str, values))} alone: "
        f"background and unknown ({ignore_label})",
        remedy="name the classes (in Python class_names) if none of them is here, like --class "
        f"1={name}; if {ignore_label} is a class here, say which, like --class {ignore_label}={name}",
    )


def slices(region: Region) -> tuple[slice, ...]:
    """A region as slices of an array."""
    return tuple(slice(start, stop) for start, stop in region)
