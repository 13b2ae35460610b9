"""Importer of the Drosophila ventral nerve cord set of Gerhard et al. 2013 (ssTEM, 20 sections).

Layout of https://github.com/unidesigner/groundtruth-drosophila-vnc, doi:10.6084/m9.figshare.856713:
``stack1/raw/00.tif`` ... and ``stack1/labels/labels00000000.png`` ..., with codes explained in its README.
Licence CC BY-NC-SA 3.0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from scsam_monai.data.importers.splits import ZRanges, split_by_z
from scsam_monai.data.importers.target import ValueMap, prepare_target, source_folder, write_description
from scsam_monai.data.items import parse_voxel_size
from scsam_monai.errors import InputError
from scsam_monai.io import EMImage, read_image, read_labels, write_stack

# Membranes are coded by their direction (0, 32, 64, 96) and junctions (128).
CODES = {
    "0": "membrane",
    "32": "membrane",
    "64": "membrane",
    "96": "membrane",
    "128": "membrane",
    "191": "mitochondrion",
    "223": "synapse",
    "159": "glia",
    "255": "background",
}
VOXEL_SIZE_NM = (50.0, 4.6, 4.6)
# For tuning. For final figures train on 0:13 and score once on 14:17.
Z_RANGES: dict[str, tuple[int, int]] = {"training": (0, 10), "validation": (11, 13), "test": (14, 17)}
ABOUT = {
    "name": "Drosophila ventral nerve cord, stack 1",
    "reference": "Gerhard et al. 2013, doi:10.6084/m9.figshare.856713",
    "licence": "CC BY-NC-SA 3.0",
}


def import_vnc(
    source: str | Path,
    target: str | Path,
    *,
    voxel_size_nm: Sequence[float] = VOXEL_SIZE_NM,
    z_ranges: ZRanges | None = None,
    gap: int = 1,
    overwrite: bool = False,
) -> Path:
    """Import stack 1: membrane, mitochondrion, synapse, glia (with extracellular space).

    The sections are put together to one image and one label stack in the target.

    Args:
        source: the repository's folder, or its ``stack1``.
        target: folder to write.
        voxel_size_nm: (z, y, x); the source gives sections of 45 to 50 nm.
        z_ranges: split along z, by default :data:`Z_RANGES`.
        gap: sections left out between the ranges.
        overwrite: replace a data set in ``target``.

    Returns:
        Path of the ``dataset.json``.

    Raises:
        InputError: folders or sections are missing.
    """
    folder, base = prepare_target(target, overwrite), source_folder(source)
    stack = base / "stack1" if (base / "stack1").is_dir() else base
    raw, labels = _sections(stack / "raw"), _sections(stack / "labels")
    if list(raw) != list(labels):
        raise InputError(
            stack,
            expected="the same section numbers in raw and labels",
            met=f"{len(raw)} and {len(labels)} sections, {sorted(set(raw) ^ set(labels))[:5]} in one only",
            remedy="download the set again",
        )
    size = parse_voxel_size(list(voxel_size_nm), where="voxel_size_nm")
    value_map = ValueMap.parse(CODES)
    image_file, label_file = folder / "images" / "stack1.tif", folder / "labels" / "stack1.tif"
    write_stack(image_file, _stack(raw, read_image), (size[0], size[1], size[2]))
    write_stack(label_file, value_map.apply(_stack(labels, read_labels)), (size[0], size[1], size[2]))
    item = {"image": str(image_file), "label": str(label_file), "voxel_size_nm": size}
    sections = split_by_z([item], Z_RANGES if z_ranges is None else z_ranges, gap)
    return write_description(folder, value_map.labels, sections, ABOUT)


def _sections(folder: Path) -> dict[int, Path]:
    """Files of sections by their number, the last digits of the stem, in that order."""
    files = [
        file for file in folder.glob("*") if file.suffix in (".tif", ".png") and file.stem[-1:].isdigit()
    ]
    if not files:
        raise InputError(
            folder,
            expected="numbered TIFF or PNG sections",
            met="none",
            remedy="name the folder of a complete download of groundtruth-drosophila-vnc",
        )
    numbers = {int(re.findall(r"\d+", file.stem)[-1]): file for file in files}
    return dict(sorted(numbers.items()))


def _stack(sections: dict[int, Path], read: Callable[[Path], EMImage]) -> np.ndarray:
    arrays = [read(path).array for path in sections.values()]
    for path, array in zip(sections.values(), arrays, strict=True):
        if array.shape != arrays[0].shape:
            raise InputError(
                path,
                expected=f"shape {arrays[0].shape}",
                met=f"{array.shape}",
                remedy="download the set again",
            )
    return np.stack(arrays)
