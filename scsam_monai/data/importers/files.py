"""The general importer: any image and label files, with a name for each label value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from scsam_monai.data.directions import warn_of_directions
from scsam_monai.data.importers.missing import measured_nowhere
from scsam_monai.data.importers.splits import Item, Sections, ZRanges, split_along, split_by_file
from scsam_monai.data.importers.target import ValueMap, prepare_target, source_folder, write_description
from scsam_monai.data.items import IGNORE_LABEL, class_ids
from scsam_monai.data.pairing import pair_by_name
from scsam_monai.errors import InputError
from scsam_monai.io import open_volume, read_header, read_image, read_labels, write_stack
from scsam_monai.io.checks import check_links, check_memory, check_values
from scsam_monai.io.files import read_label_header
from scsam_monai.io.formats import WITH_DATASETS
from scsam_monai.io.formats.slice_names import natural_key
from scsam_monai.io.formats.source import split_dataset
from scsam_monai.io.voxel_size import choose_voxel_size


def import_files(
    source: str | Path,
    target: str | Path,
    *,
    images: Sequence[str],
    labels: Sequence[str],
    classes: Mapping[str, str],
    axes: str | None = None,
    voxel_size_nm: Sequence[float] | None = None,
    annotated: Sequence[str] | None = None,
    z_ranges: ZRanges | None = None,
    file_patterns: Mapping[str, Sequence[str]] | None = None,
    y_ranges: ZRanges | None = None,
    gap: int = 1,
    in_order: bool = False,
    sections: Sequence[int] | None = None,
    overwrite: bool = False,
) -> Path:
    """Import image and label files; images stay where they are.

    Labels whose values already are the class ids stay, too; others are written anew into the target, and so are
    all files whose axes have to be declared, sections of a stack, and images with voxels that are NaN. Without a
    split everything is training.

    Args:
        source: folder that the patterns start from.
        target: folder to write.
        images: names or glob patterns of anything that :func:`scsam_monai.io.open_volume` reads, folders of slices
            and ``cell.h5:/volumes/raw`` among them; sorted with numbers counted as numbers.
        labels: as many, paired with the images by what their names have in common.
        classes: class name by label value, range of them, or ``others``; see :meth:`ValueMap.parse`.
        axes: letters of the stored axes where the files do not say, see :func:`scsam_monai.io.open_volume`.
        voxel_size_nm: (z, y, x); needed where the image files state none, and stronger than they.
        annotated: classes that are annotated, by default all.
        z_ranges: split along z, see :func:`split_along`.
        file_patterns: split by image file names, see :func:`split_by_file`.
        y_ranges: split along y: for a single section.
        gap: sections or rows left out between the ranges.
        in_order: pair images and labels in the order in which they are named and sorted, whatever their names.
        sections: the label files are of these sections of the one image, counted from 0, in their order.
        overwrite: replace a data set in ``target``.

    Returns:
        Path of the ``dataset.json``.

    Raises:
        InputError: files missing or unpaired, voxel size unknown, or a split that does not fit.
    """
    folder, base = prepare_target(target, overwrite), source_folder(source)
    value_map = ValueMap.parse(classes)
    known = class_ids(list(annotated or value_map.labels.values()), value_map.labels, where="annotated")
    items = []
    for index, (image, label, z) in enumerate(_pairs(base, images, labels, in_order, sections)):
        warn_of_directions(image, label)
        size = _voxel_size(image, axes, voxel_size_nm)
        file, missing = _image_file(image, axes, z, folder, index, size)
        items.append(
            {
                "image": str(file),
                "label": str(_label_file(label, axes, z, missing, value_map, folder, index, size)),
                "voxel_size_nm": size,
                "annotated": [value_map.labels[class_id] for class_id in known],
            }
        )
    return write_description(folder, value_map.labels, _split(items, z_ranges, y_ranges, file_patterns, gap))


def find_files(base: Path, patterns: Sequence[str]) -> list[Path]:
    """Files that match, in the order of the patterns and, within one, of the numbers in their names.

    Raises:
        InputError: a pattern matches nothing, or a link to what is not there.
    """
    found: list[Path] = []
    for pattern in patterns:
        file, dataset = split_dataset(Path(pattern).expanduser(), WITH_DATASETS)
        named = base / file
        there = named.exists() or not pattern
        matches = [named] if there else sorted(base.glob(str(file)), key=_natural)
        check_links([named, *matches])
        if not matches or not pattern:
            raise InputError(
                named, expected="files that match", met="none", remedy="check folder and pattern"
            )
        found += [match if dataset is None else Path(f"{match}:{dataset}") for match in matches]
    return found


def _pairs(
    base: Path, images: Sequence[str], labels: Sequence[str], in_order: bool, sections: Sequence[int] | None
) -> list[tuple[Path, Path, int | None]]:
    """Return each image with its label, and the section that this is of if it is not of all."""
    image_files, label_files = find_files(base, images), find_files(base, labels)
    if same := set(image_files) & set(label_files):
        raise InputError(
            sorted(same)[0],
            expected="images and labels apart",
            met="one file as both",
            remedy="narrow the patterns",
        )
    if sections is not None:
        return _of_sections(base, image_files, label_files, sections)
    if not in_order:
        return [(image, label, None) for image, label in pair_by_name(base, image_files, label_files)]
    if len(image_files) != len(label_files):
        raise InputError(
            base,
            expected="one label file for each image",
            met=f"{len(image_files)} images and {len(label_files)} labels",
            remedy="narrow the patterns",
        )
    return [(image, label, None) for image, label in zip(image_files, label_files, strict=True)]


def _of_sections(
    base: Path, images: Sequence[Path], labels: Sequence[Path], sections: Sequence[int]
) -> list[tuple[Path, Path, int | None]]:
    """Return the stack with each label and its section."""
    if len(images) != 1 or len(labels) != len(sections) or len(set(sections)) < len(sections):
        raise InputError(
            base,
            expected="one stack, and for each label file a section of its own",
            met=f"{len(images)} images, {len(labels)} labels and the sections {', '.join(map(str, sections))}",
            remedy="name the stack by --image and repeat --label and --section alike",
        )
    return [(images[0], label, z) for label, z in zip(labels, sections, strict=True)]


def _image_file(
    image: Path, axes: str | None, z: int | None, folder: Path, index: int, size: Sequence[float]
) -> tuple[Path, np.ndarray | None]:
    """The image file itself, or one in the data set's folder; and which of its voxels were never measured.

    A new one is written of a section, in z, y, x where axes are declared, and where such voxels are filled.
    """
    images = folder / "images"
    if z is not None:
        section = _section(image, axes, z)
        check_values(image, section, whole=True)
        return _written(section, images, image, index, size, f"_z{z}"), None
    found = measured_nowhere(image, axes)
    if found is not None:
        return _written(found[0], images, image, index, size), found[1]
    if axes is None:
        return image, None
    return _written(read_image(image, axes=axes).array, images, image, index, size), None


def _section(image: Path, axes: str | None, z: int) -> np.ndarray:
    with open_volume(image, axes=axes) as volume:
        depth, *edges = volume.shape
        if not 0 <= z < depth:
            raise InputError(
                "--section",
                expected=f"a section of {image.name}, 0 to {depth - 1}",
                met=str(z),
                remedy="sections count from 0",
            )
        check_memory(replace(read_header(image, axes), shape=(1, *edges)), volume.chunk)
        return volume.read(((z, z + 1), *((0, edge) for edge in edges)))[0]


def _label_file(
    label: Path,
    axes: str | None,
    z: int | None,
    missing: np.ndarray | None,
    value_map: ValueMap,
    folder: Path,
    index: int,
    size: Sequence[float],
) -> Path:
    """The label file itself where its values and axes fit, else a new one in the data set's folder."""
    axes = axes if z is None else None  # those of the stack
    read_label_header(label, axes, whole=True)
    values = read_labels(label, axes=axes).array
    value_map.check(values, label)
    if value_map.fits(values) and axes is None and missing is None:
        return label
    ids = value_map.apply(values)
    if missing is not None and missing.size == ids.size:  # else the shapes are refused by and by
        ids[missing.reshape(ids.shape)] = IGNORE_LABEL
    return _written(ids, folder / "labels", label, index, size)


def _written(
    array: np.ndarray, folder: Path, source: Path, index: int, size: Sequence[float], part: str = ""
) -> Path:
    written = folder / f"{index:03d}_{source.name.split('.')[0]}{part}.tif"
    z, y, x = size
    write_stack(written, array, (z, y, x))
    return written


def _voxel_size(image: Path, axes: str | None, given: Sequence[float] | None) -> list[float]:
    header = read_header(image, axes)
    return list(choose_voxel_size(image, header.voxel_size_nm, given, len(header.shape)))


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


def _natural(path: Path) -> list[list[tuple[float, str]]]:
    return [natural_key(part) for part in path.parts]
