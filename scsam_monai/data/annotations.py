"""A few annotated images as somebody hands them in: paired, their values given classes, and counted.

What can be read in two ways is asked for, or told: what 0 means, and where class names come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.data.dataset import DESCRIPTION_NAME, load_dataset
from scsam_monai.data.directions import warn_of_directions
from scsam_monai.data.importers.target import ValueMap, name_of
from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL, UNKNOWN, plain_name, volume_shape
from scsam_monai.data.pairing import pair_by_name
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.io import read_header, read_labels
from scsam_monai.io.files import is_readable
from scsam_monai.io.formats.slice_names import natural_key
from scsam_monai.io.image import VoxelSize, as_volume
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.voxel_size import choose_voxel_size

FEW = 500
"""Labelled voxels of a class under which it is hardly learned."""
ALWAYS_UNKNOWN = {"-1": UNKNOWN, str(IGNORE_LABEL): UNKNOWN}
SHOWN = 6
"""Label values in an error."""

Source = Any
"""A path, or an array (y, x) or (z, y, x)."""


@dataclass(frozen=True)
class Annotation:
    """An image file and what was labelled in it.

    Attributes:
        image: the file.
        label: (z, y, x) uint8 class ids, 255 unknown.
        voxel_size_nm: (z, y, x).
        annotated: ids of the classes that were looked for.
    """

    image: Path
    label: np.ndarray
    voxel_size_nm: list[float]
    annotated: list[int]


@dataclass(frozen=True)
class Annotations:
    """All that was annotated.

    Attributes:
        names: of the classes; the index is the class id.
        learn: what may be learned from.
        check: items to score on that the user set apart, as a data set's validation part; mostly none.
        notes: what the user should know, a sentence each.
    """

    names: list[str]
    learn: list[Annotation]
    check: list[Annotation] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def counts(self) -> np.ndarray:
        """Labelled voxels of each class that may be learned from, (K',)."""
        return np.sum([voxels(item.label, len(self.names)) for item in self.learn], axis=0)


def voxels(label: np.ndarray, n_classes: int) -> np.ndarray:
    """Count the voxels of each class, (K',); unknown ones are left out."""
    counts: np.ndarray = np.bincount(label.reshape(-1), minlength=IGNORE_LABEL + 1)[:n_classes]
    return counts


def read_annotations(
    images: Source | Sequence[Source],
    labels: Source | Sequence[Source] | None,
    *,
    class_names: Mapping[Any, str] | Sequence[str] | None = None,
    model_names: Sequence[str] | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    unlabelled: int | None = None,
    folder: Path,
) -> Annotations:
    """Read what was annotated, before anything slow begins.

    Args:
        images: one image or several, as arrays or paths; a folder of images; a data set's folder.
        labels: as many, in the same order; a folder of them; None for a data set.
        class_names: class name by label value, or in the order of the values; None takes those that the label files
            carry, all of them the same, else ``model_names``.
        model_names: of a model of the user's, whose ids the labels may have; background first.
        voxel_size_nm: (z, y, x) of arrays, and of files that state none.
        unlabelled: a label value of voxels that nobody looked at, besides -1 and 255.
        folder: where arrays are written to as files.

    Raises:
        InputError: if something does not fit, or 0 may mean two things.
    """
    if labels is None:
        given = {"--class": class_names, "--unlabelled": unlabelled, "--voxel-size-nm": voxel_size_nm}
        return _of_dataset(images, [option for option, value in given.items() if value is not None])
    pairs = _pairs(images, labels)
    for image, label in pairs:
        warn_of_directions(image, label)
    arrays = [as_volume(_label(label)) for _, label in pairs]
    shapes = [_shape(image) for image, _ in pairs]
    for (_, label), shape, array in zip(pairs, shapes, arrays, strict=True):
        if volume_shape(shape) != array.shape:
            remedy = (
                "labels of one section: scsam import files . DATASET --image IMAGE --label LABELS --section Z, "
                "then scsam adapt DATASET"
                if len(array) == 1 and array.shape[1:] == volume_shape(shape)[1:]
                else "pair each image with its own labels"
            )
            met = str(array.shape)
            raise InputError(
                _named(label), expected=f"the shape of its image, {shape}", met=met, remedy=remedy
            )
    sizes = [
        _voxel_size(image, voxel_size_nm, len(shape)) for (image, _), shape in zip(pairs, shapes, strict=True)
    ]
    names, notes = _names([label for _, label in pairs], arrays, class_names, model_names)
    names, told = _with_unknown(names, arrays, unlabelled, _named(pairs[0][1]))
    value_map = ValueMap.parse(names)
    for (_, label), array in zip(pairs, arrays, strict=True):
        value_map.check(array, _named(label))
    ids = list(value_map.labels)
    learn = [
        Annotation(_as_file(image, folder, index), value_map.apply(array), list(size), ids)
        for index, ((image, _), array, size) in enumerate(zip(pairs, arrays, sizes, strict=True))
    ]
    return _counted(
        Annotations(list(value_map.labels.values()), learn, notes=[*_paired(pairs), *notes, *told])
    )


def _of_dataset(folder: Source, given: Sequence[str]) -> Annotations:
    if not isinstance(folder, str | Path):
        raise InputError(
            "labels",
            expected="label images beside images",
            met="none",
            remedy="give as many as there are images",
        )
    if not (Path(folder) / DESCRIPTION_NAME).is_file() and Path(folder).name != DESCRIPTION_NAME:
        raise InputError(
            folder,
            expected=f"a label image behind the image, or a data set folder with {DESCRIPTION_NAME}",
            met="neither",
            remedy="name the label image, too: scsam adapt IMAGE LABELS",
        )
    if given:
        raise InputError(
            ", ".join(given),
            expected=f"to be left out beside a data set, whose {DESCRIPTION_NAME} says it",
            met=f"the data set {folder}",
            remedy=f"leave out what is named, and correct {DESCRIPTION_NAME} if it is wrong there",
        )
    description = load_dataset(folder)
    parts = (description.training, description.validation)
    learn, check = ([_of_item(item, description.class_names) for item in part] for part in parts)
    return _counted(Annotations(description.class_names, learn, check))


def _of_item(item: Mapping[str, Any], names: Sequence[str]) -> Annotation:
    part = as_volume(read_labels(item["label"], item["region"]).array)
    strange = [value for value in _values([part]) if not 0 <= value < len(names) and value != IGNORE_LABEL]
    if strange:
        raise InputError(
            item["label"],
            expected=f"class ids from 0 to {len(names) - 1}, and {IGNORE_LABEL} for unknown",
            met=", ".join(map(str, strange[:SHOWN])),
            remedy=f"correct the labels, or name their classes in {DESCRIPTION_NAME}",
        )
    label = part.astype(np.uint8)
    if item["region"] is not None:
        label = np.full(volume_shape(read_header(item["image"]).shape), IGNORE_LABEL, np.uint8)
        label[tuple(slice(*bounds) for bounds in item["region"])] = part
    return Annotation(Path(item["image"]), label, list(item["voxel_size_nm"]), list(item["annotated"]))


def _pairs(images: Any, labels: Any) -> list[tuple[Source, Source]]:
    if _is_folder(images) and _is_folder(labels):
        base = Path(images)
        return list(pair_by_name(base, _files(base), _files(Path(labels))))
    several = [list(each) if _is_several(each) else [each] for each in (images, labels)]
    if len(several[0]) != len(several[1]) or not several[0]:
        met = f"{len(several[0])} images and {len(several[1])} label images"
        raise InputError("labels", expected="one label image for each image", met=met, remedy="name as many")
    return list(zip(*several, strict=True))


def _paired(pairs: Sequence[tuple[Source, Source]]) -> list[str]:
    """Say which label file goes with which image, where several were paired."""
    if len(pairs) < 2 or not all(isinstance(source, str | Path) for pair in pairs for source in pair):
        return []
    told = [f"{Path(image).name} with {Path(label).name}" for image, label in pairs[:SHOWN]]
    return [", ".join(told) + (f" and {len(pairs) - SHOWN} more" if len(pairs) > SHOWN else "")]


def _is_folder(source: Any) -> bool:
    """Whether a path is a folder of images, and not a volume or a stack of slices that is one by its name."""
    return isinstance(source, str | Path) and Path(source).is_dir() and Path(source).suffix.lower() != ".zarr"


def _is_several(source: Any) -> bool:
    return isinstance(source, list | tuple) and not isinstance(source[0] if source else None, int | float)


def _files(folder: Path) -> list[Path]:
    found = [path for path in folder.iterdir() if not path.name.startswith(".") and is_readable(path)]
    if not found:
        raise InputError(folder, expected="images", met="none", remedy="check the folder")
    return sorted(found, key=lambda path: natural_key(path.name))


def _label(source: Source) -> np.ndarray:
    if isinstance(source, str | Path):
        return read_labels(source).array
    array = np.asarray(source)
    if array.dtype.kind not in "iub" or array.ndim not in (2, 3) or not array.size:
        met = f"{array.dtype} of shape {array.shape}"
        raise InputError(
            "labels", expected="whole numbers (y, x) or (z, y, x)", met=met, remedy="convert them"
        )
    return array.astype(np.uint8) if array.dtype.kind == "b" else array


def _shape(image: Source) -> tuple[int, ...]:
    if isinstance(image, str | Path):
        return read_header(image).shape
    array = np.asarray(image)
    if array.dtype.kind not in "iuf" or array.ndim not in (2, 3) or not array.size:
        met = f"{array.dtype} of shape {array.shape}"
        raise InputError("images", expected="grey values (y, x) or (z, y, x)", met=met, remedy="convert them")
    return array.shape


def _voxel_size(image: Source, given: Sequence[float] | None, ndim: int) -> VoxelSize:
    stated = read_header(image).voxel_size_nm if isinstance(image, str | Path) else None
    return choose_voxel_size(_named(image), stated, given, ndim)


def _named(source: Source) -> str:
    return str(source) if isinstance(source, str | Path) else "array"


def _as_file(image: Source, folder: Path, index: int) -> Path:
    if isinstance(image, str | Path):
        return Path(image).absolute()
    path = folder / f"image_{index:03d}.npy"
    with atomic_path(path) as temporary:
        np.save(temporary, np.asarray(image))
    return path


def _names(
    labels: Sequence[Source],
    arrays: Sequence[np.ndarray],
    given: Mapping[Any, str] | Sequence[str] | None,
    of_model: Sequence[str] | None,
) -> tuple[dict[str, str], list[str]]:
    """Return class names by label value, and where they come from if nobody gave them."""
    if given is not None:
        pairs = given.items() if isinstance(given, Mapping) else enumerate(given)
        return {str(value): name for value, name in pairs}, []
    values = _values(arrays)
    label = labels[0]
    for names, source in ((_legend(labels, of_model), _named(label)), (of_model, "the model")):
        if names and all(0 <= value < len(names) for value in values if value not in (-1, IGNORE_LABEL)):
            told = ", ".join(f"{index} {name}" for index, name in enumerate(names))
            return {str(index): name for index, name in enumerate(names)}, [
                f"label values as in {source}: {told}"
            ]
    first = next((value for value in values if value not in (-1, 0, IGNORE_LABEL)), 1)
    met = ", ".join(f"{value} in {count:,} voxels" for value, count in list(values.items())[:SHOWN])
    raise InputError(
        _named(label),
        expected="a name for each label value",
        met=met + (f" and {len(values) - SHOWN} more values" if len(values) > SHOWN else ""),
        remedy=f"say what they mean, like --class {first}=mitochondrion",
    )


def _legend(labels: Sequence[Source], of_model: Sequence[str] | None) -> Sequence[str] | None:
    """Return the class names that all label files carry; None where none has any.

    A file without names may be beside others only if theirs are those of the model: its values could mean anything.
    """
    legends = [read_legend(label) if isinstance(label, str | Path) else None for label in labels]
    carried = [None if legend is None else legend.class_names for legend in legends]
    if carried[0] is None and of_model is not None:
        carried[0] = next((names for names in carried if names == tuple(of_model)), None)
    for label, names in zip(labels, carried, strict=True):
        if names != carried[0] and not (names is None and of_model and carried[0] == tuple(of_model)):
            first, other = (", ".join(each) if each else "no names" for each in (carried[0], names))
            raise InputError(
                _named(label),
                expected=f"the class names that {_named(labels[0])} carries, {first}",
                met=other,
                remedy="say what the values mean in all of the files, like --class 1=mitochondrion",
            )
    return carried[0]


def _values(arrays: Sequence[np.ndarray]) -> dict[int, int]:
    values, counts = np.unique(np.concatenate([array.reshape(-1) for array in arrays]), return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _with_unknown(
    names: dict[str, str], arrays: Sequence[np.ndarray], unlabelled: int | None, where: str
) -> tuple[dict[str, str], list[str]]:
    """Add what is unknown to the names, and settle whether 0 is background."""
    names = {value: plain_name(name) for value, name in names.items()}
    implied = {value: name for value, name in ALWAYS_UNKNOWN.items() if name_of(int(value), names) is None}
    if unlabelled is not None:
        named = names.get(str(unlabelled), UNKNOWN)
        if named not in (UNKNOWN, BACKGROUND):
            met = f"the class {named}"
            raise InputError(
                f"--unlabelled {unlabelled}", expected="no class", met=met, remedy="leave one out"
            )
        return {**implied, **names, str(unlabelled): UNKNOWN}, []
    names = {**implied, **names}
    values, told = _values(arrays), []
    if 0 in values and name_of(0, names) is None:
        share = values[0] / sum(values.values())
        if not any(name_of(value, names) == UNKNOWN for value in values):
            raise InputError(
                where,
                expected="to be told what 0 means",
                met=f"0 in {share:.0%} of the voxels",
                remedy="--class 0=background if somebody looked at these voxels and they are of none of the "
                "classes, --unlabelled 0 if nobody did",
            )
        told.append(f"0 is taken for background ({share:.0%} of the voxels): others are marked as unknown")
    return names, told


def _counted(found: Annotations) -> Annotations:
    """Refuse what cannot be learned from, and name classes that are rare."""
    counts = found.counts()
    if not counts[1:].any():
        met = "background and unknown voxels alone" if counts[0] else "unknown voxels (-1, 255) alone"
        remedy = "label some, or say what the values mean, like --class 255=mitochondrion"
        raise InputError("labels", expected="voxels of a class", met=met, remedy=remedy)
    if not counts[0]:
        raise InputError(
            "labels",
            expected="some background, or all would be of a class",
            met="none",
            remedy="mark some places that are of no class with a value of their own, like --class 9=background",
        )
    told = [
        f"{name}: {counts[index]:,} labelled voxels, too few to be learned or scored reliably; label {FEW} or more"
        for index, name in enumerate(found.names)
        if counts[index] < FEW
    ]
    found.notes[:0] = told
    return found
