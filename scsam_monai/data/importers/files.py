"""The general importer: any image and label files, with a name for each label value."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scsam_monai.data.importers.splits import Item, Sections, ZRanges, split_along, split_by_file
from scsam_monai.data.importers.target import ValueMap, prepare_target, source_folder, write_description
from scsam_monai.data.items import class_ids, parse_voxel_size
from scsam_monai.data.pairing import pair_by_name
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_labels, write_stack


def import_files(
    source: str | Path,
    target: str | Path,
    *,
    images: Sequence[str],
    labels: Sequence[str],
    classes: Mapping[str, str],
    voxel_size_nm: Sequence[float] | None = None,
    annotated: Sequence[str] | None = None,
    z_ranges: ZRanges | None = None,
    file_patterns: Mapping[str, Sequence[str]] | None = None,
    y_ranges: ZRanges | None = None,
    gap: int = 1,
    in_order: bool = False,
    overwrite: bool = False,
) -> Path:
    """Import image and label files; images stay where they are.

    Images stay where they are. Labels whose values already are the class ids do, too; others are written
    anew into the target. Without a split everything is training.

    Args:
        source: folder that the patterns start from.
        target: folder to write.
        images: file names or glob patterns; sorted with numbers counted as numbers.
        labels: as many, paired with the images by what their names have in common.
        classes: class name by label value; see :class:`ValueMap`.
        voxel_size_nm: (z, y, x); needed where the image files state none, and stronger than they.
        annotated: classes that are annotated, by default all.
        z_ranges: split along z, see :func:`split_along`.
        file_patterns: split by image file names, see :func:`split_by_file`.
        y_ranges: split along y: for a single section.
        gap: sections or rows left out between the ranges.
        in_order: pair images and labels in the order in which they are named and sorted, whatever their names.
        overwrite: replace a data set in ``target``.

    Returns:
        Path of the ``dataset.json``.

    Raises:
        InputError: files missing or unpaired, voxel size unknown, or a split that does not fit.
    """
    folder, base = prepare_target(target, overwrite), source_folder(source)
    value_map = ValueMap.parse(classes)
    known = class_ids(list(annotated or value_map.labels.values()), value_map.labels, where="annotated")
    items = [
        {
            "image": str(image),
            "label": str(_label_file(label, value_map, folder, index, size)),
            "voxel_size_nm": size,
            "annotated": [value_map.labels[class_id] for class_id in known],
        }
        for index, (image, label) in enumerate(_pairs(base, images, labels, in_order))
        for size in [_voxel_size(image, voxel_size_nm)]
    ]
    return write_description(folder, value_map.labels, _split(items, z_ranges, y_ranges, file_patterns, gap))


def find_files(base: Path, patterns: Sequence[str]) -> list[Path]:
    """Files that match, in the order of the patterns and, within one, of the numbers in their names.

    Raises:
        InputError: a pattern matches nothing.
    """
    found: list[Path] = []
    for pattern in patterns:
        named = base / Path(pattern).expanduser()
        matches = [named] if named.is_file() else sorted(base.glob(pattern), key=_natural) if pattern else []
        if not matches:
            raise InputError(
                named, expected="files that match", met="none", remedy="check folder and pattern"
            )
        found += matches
    return found


def _pairs(
    base: Path, images: Sequence[str], labels: Sequence[str], in_order: bool
) -> list[tuple[Path, Path]]:
    image_files, label_files = find_files(base, images), find_files(base, labels)
    if same := set(image_files) & set(label_files):
        raise InputError(
            sorted(same)[0],
            expected="images and labels apart",
            met="one file as both",
            remedy="narrow the patterns",
        )
    if not in_order:
        return pair_by_name(base, image_files, label_files)
    if len(image_files) != len(label_files):
        raise InputError(
            base,
            expected="one label file for each image",
            met=f"{len(image_files)} images and {len(label_files)} labels",
            remedy="narrow the patterns",
        )
    return list(zip(image_files, label_files, strict=True))


def _label_file(label: Path, value_map: ValueMap, folder: Path, index: int, size: Sequence[float]) -> Path:
    """The label file itself where its values fit, else a new one in the data set's folder."""
    values = read_labels(label).array
    value_map.check(values, label)
    if value_map.fits(values):
        return label
    written = folder / "labels" / f"{index:03d}_{label.name.split('.')[0]}.tif"
    z, y, x = size
    write_stack(written, value_map.apply(values), (z, y, x))
    return written


def _voxel_size(image: Path, given: Sequence[float] | None) -> list[float]:
    size: Any = given if given is not None else read_header(image).voxel_size_nm
    if size is None:
        raise InputError(
            image,
            expected="a voxel size",
            met="none in the file",
            remedy="give it with --voxel-size-nm Z,Y,X (nanometres)",
        )
    return parse_voxel_size(size, where="voxel_size_nm")


def _split(
    items: list[Item],
    z_ranges: ZRanges | None,
    y_ranges: ZRanges | None,
    patterns: Mapping[str, Sequence[str]] | None,
    gap: int,
) -> Sections:
    if sum(map(bool, (z_ranges, y_ranges, patterns))) > 1:
        raise InputError(
            "split",
            expected="z ranges, y ranges or file patterns",
            met="several",
            remedy="split by one of them",
        )
    if z_ranges or y_ranges:
        return split_along(items, z_ranges or y_ranges or {}, gap, axis=0 if z_ranges else 1)
    return split_by_file(items, patterns) if patterns else {"training": items}


def _natural(path: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", str(path))]
