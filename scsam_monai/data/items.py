"""Items of a data set: one image or volume with its label, its class names, completed and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.io import as_voxel_size, check_region, read_header, read_image, read_labels
from scsam_monai.io.files import read_label_header
from scsam_monai.io.formats.mrc import as_imod_shows
from scsam_monai.io.image import as_volume
from scsam_monai.io.voxel_size import choose_voxel_size

IGNORE_LABEL = 255
"""Value of voxels of which nothing is known."""

BACKGROUND = "background"
UNKNOWN = "unknown"
NO_CLASSES = (BACKGROUND, UNKNOWN)

_KEYS = {"image", "label", "voxel_size_nm", "region", "annotated"}


def plain_name(name: str) -> str:
    """Return a class name without spaces around it; "background" and "unknown" in whatever case they are typed.

    Example:
        >>> plain_name("Background"), plain_name(" UNKNOWN "), plain_name("Golgi")
        ('background', 'unknown', 'Golgi')
    """
    lowered = name.strip().casefold()
    return lowered if lowered in NO_CLASSES else name.strip()


def parse_labels(content: Mapping[str, Any], *, where: str | Path) -> dict[int, str]:
    """Read ``labels`` (class names by id) and check ``ignore_label``.

    Args:
        content: of ``dataset.json``.
        where: the file to name in errors.

    Raises:
        InputError: the ids are not 0, 1, 2 ..., names repeat, or 0 is not the background.
    """
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(str(key).isdigit() for key in labels):
        raise _labels_error(where, "no such key" if labels is None else repr(labels))
    names = {int(key): name for key, name in sorted(labels.items(), key=lambda pair: int(pair[0]))}
    consecutive = list(names) == list(range(len(names))) and 2 <= len(names) <= IGNORE_LABEL
    if not consecutive or not all(isinstance(name, str) and name.strip() for name in names.values()):
        raise _labels_error(where, repr(labels))
    names = {class_id: plain_name(name) for class_id, name in names.items()}
    values = list(names.values())
    if values[0] != BACKGROUND or UNKNOWN in values or len(set(values)) < len(values):
        raise _labels_error(where, repr(labels))
    if content.get("ignore_label", IGNORE_LABEL) != IGNORE_LABEL:
        raise InputError(
            f"{where}: ignore_label",
            expected=f"{IGNORE_LABEL}",
            met=repr(content["ignore_label"]),
            remedy=f"write unknown voxels as {IGNORE_LABEL}, for example with `scsam import files`",
        )
    return names


def class_ids(annotated: object, labels: Mapping[int, str], *, where: str | Path) -> list[int]:
    """Ids of classes given by name or id, with the background added.

    Args:
        annotated: list of names or ids.
        labels: class names by id.
        where: the file and key to name in errors.

    Raises:
        InputError: no list, or an unknown class.
    """
    if not isinstance(annotated, list):
        raise InputError(where, expected="a list of classes", met=repr(annotated), remedy="write [...]")
    by_name = {name: index for index, name in labels.items()}
    ids = {0}
    for entry in annotated:
        known = by_name.get(plain_name(entry)) if isinstance(entry, str) else entry
        if type(known) is not int or known not in labels:
            raise InputError(
                where,
                expected=f"classes of this data set ({', '.join(by_name)})",
                met=repr(entry),
                remedy="correct the name or add the class to labels",
            )
        ids.add(known)
    return sorted(ids)


def _labels_error(where: str | Path, met: str) -> InputError:
    return InputError(
        f"{where}: labels",
        expected='class names by id, like {"0": "background", "1": "mitochondrion"}, ids without gaps',
        met=met,
        remedy=f"list every class once; {UNKNOWN} is none: its voxels are {IGNORE_LABEL}",
    )


def complete_item(
    item: object,
    defaults: Mapping[str, Any],
    labels: Mapping[int, str],
    *,
    folder: Path,
    where: str,
) -> dict[str, Any]:
    """Check one item against the headers of its files and fill in what it inherits.

    Args:
        item: ``{"image", "label"}`` and optionally ``voxel_size_nm``, ``region``, ``annotated``.
        defaults: where ``voxel_size_nm`` and ``annotated`` are taken from if the item has none; the voxel
            size that the image file states comes last.
        labels: class names by id.
        folder: where relative paths start.
        where: file and key to name in errors.

    Returns:
        The item with absolute paths and all five keys.

    Raises:
        InputError: anything missing, unknown or inconsistent.
    """
    if not isinstance(item, dict) or not {"image", "label"} <= set(item):
        raise InputError(
            where, expected='{"image": ..., "label": ...}', met=repr(item), remedy="name both files"
        )
    if unknown := set(item) - _KEYS:
        raise InputError(
            where,
            expected=f"keys {', '.join(sorted(_KEYS))}",
            met=", ".join(sorted(map(str, unknown))),
            remedy="remove or correct it",
        )
    paths = [_path(item[key], folder, f"{where}: {key}") for key in ("image", "label")]
    image, label = read_header(paths[0], whole=True), read_label_header(paths[1], whole=True)
    if volume_shape(image.shape) != volume_shape(label.shape):
        raise InputError(
            f"{where}: {paths[1]}",
            expected=f"the shape of {paths[0].name}, {image.shape}",
            met=f"{label.shape}",
            remedy="pair each image with its own label file",
        )
    size = item.get("voxel_size_nm", defaults.get("voxel_size_nm"))
    if size is None and image.voxel_size_nm is not None:
        size = choose_voxel_size(
            paths[0], image.voxel_size_nm, option='"voxel_size_nm": [50, 4.6, 4.6] in dataset.json'
        )
    annotated = item.get("annotated", defaults.get("annotated", list(labels)))
    return {
        "image": str(paths[0]),
        "label": str(paths[1]),
        "voxel_size_nm": parse_voxel_size(size, where=f"{where}: voxel_size_nm"),
        "region": _region(item.get("region"), volume_shape(image.shape), where=f"{where}: region"),
        "annotated": class_ids(annotated, labels, where=f"{where}: annotated"),
    }


def items_from_pairs(
    pairs: Sequence[Mapping[str, Any]],
    class_names: Sequence[str],
    voxel_size_nm: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Make items of a data set from pairs of image and label files, as an annotation server gives them.

    Args:
        pairs: ``{"image", "label"}``; further item keys are kept, others dropped.
        class_names: index is the class id; all of them count as annotated unless a pair says otherwise.
        voxel_size_nm: (z, y, x) for files that state none.

    Raises:
        InputError: as :func:`complete_item`.
    """
    labels = dict(enumerate(class_names))
    items = []
    for index, pair in enumerate(pairs):
        where = f"pair {index}"
        item = {key: value for key, value in pair.items() if key in _KEYS and value is not None}
        if "voxel_size_nm" not in item and "image" in item:
            stated = read_header(_path(item["image"], Path.cwd(), where)).voxel_size_nm
            item["voxel_size_nm"] = stated if stated is not None else voxel_size_nm
        items.append(complete_item(item, {}, labels, folder=Path.cwd(), where=where))
    return items


def load_item(item: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """Read an item, cropped to its region.

    Args:
        item: as :func:`complete_item` returns it.

    Returns:
        The image (z, y, x) in the file's own type and the label (z, y, x) uint8; one section for images.

    Raises:
        InputError: the files cannot be read, or labels do not fit into uint8.
    """
    image = read_image(item["image"], item["region"]).array
    label = as_uint8(read_labels(item["label"], item["region"]).array, where=item["label"])
    return as_volume(image), as_volume(label)


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(z, y, x) of a volume or of an image, which is one section."""
    return (1, *shape) if len(shape) == 2 else shape


def item_shape(item: Mapping[str, Any]) -> tuple[int, ...]:
    """(z, y, x) of an item as :func:`load_item` reads it, from the header alone."""
    if item["region"] is not None:
        return tuple(stop - start for start, stop in item["region"])
    return volume_shape(read_header(item["image"]).shape)


def as_uint8(label: np.ndarray, *, where: str | Path) -> np.ndarray:
    """Labels as uint8.

    Raises:
        InputError: a value lies outside 0 to 255.
    """
    if label.dtype == np.uint8:
        return label
    low, high = int(label.min()), int(label.max())
    if low < 0 or high > IGNORE_LABEL:
        raise InputError(
            where,
            expected=f"label values from 0 to {IGNORE_LABEL}",
            met=f"values from {low} to {high}{as_imod_shows(where) if low < 0 else ''}",
            remedy="these look like instance numbers: map them to classes with `scsam import files`",
        )
    return label.astype(np.uint8)


def parse_voxel_size(size: object, *, where: str | Path) -> list[float]:
    """Three positive lengths (z, y, x) in nm, as JSON has them.

    Raises:
        InputError: missing, or no three positive numbers.
    """
    if size is None:
        raise InputError(
            where,
            expected="three positive lengths [z, y, x] in nm",
            met="none, and the image file states none",
            remedy='add "voxel_size_nm": [z, y, x]; it is never guessed',
        )
    return list(as_voxel_size(size, where=where))


def _path(name: object, folder: Path, where: str) -> Path:
    if not isinstance(name, str | Path) or not str(name):
        raise InputError(where, expected="a path", met=repr(name), remedy="name the file")
    return (folder / Path(name).expanduser()).resolve()


def _region(region: object, shape: tuple[int, ...], *, where: str) -> list[list[int]] | None:
    if region is None:
        return None
    bounds = region if isinstance(region, list | tuple) and len(region) == 3 else [()] * 3
    filled = [(0, size) if bound is None else bound for bound, size in zip(bounds, shape, strict=True)]
    if not all(_is_bound(bound) for bound in filled):
        raise InputError(
            where,
            expected="[[z0, z1], [y0, y1], [x0, x1]] of integers, null for all of an axis",
            met=repr(region),
            remedy="correct the bounds (the end is excluded)",
        )
    check_region(filled, shape, where=where)
    return [list(bound) for bound in filled]


def _is_bound(bound: object) -> bool:
    return isinstance(bound, list | tuple) and len(bound) == 2 and all(type(end) is int for end in bound)
