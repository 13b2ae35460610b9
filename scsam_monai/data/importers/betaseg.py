"""Importer of BetaSeg: mouse beta cells, FIB-SEM at 16 nm (Müller et al. 2021, doi:10.1083/jcb.202010039).

Every cell has ``<cell>_source.tif`` and one mask per organelle, some of instances. The archive states no
licence: it is read where it was downloaded to.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from scsam_monai.data.importers.splits import Item, Sections
from scsam_monai.data.importers.target import prepare_target, source_folder, write_description
from scsam_monai.data.items import BACKGROUND, IGNORE_LABEL, parse_voxel_size
from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_labels, write_stack

VOXEL_SIZE_NM = (16.0, 16.0, 16.0)
CELL_BODY = "membrane_full_mask"
# Where masks overlap the later one wins.
MASKS = {
    "nucleus": "nucleus_mask",
    "mitochondrion": "mitochondria_mask",
    "golgi": "golgi_corrected",
    "granule": "granules",
    "microtubule": "microtubules",
    "centriole": "centrioles",
}
HEADLINE_CLASSES = ("nucleus", "mitochondrion", "golgi", "granule", "centriole")
ABOUT = {
    "name": "BetaSeg",
    "reference": "Müller et al. 2021, doi:10.1083/jcb.202010039",
    "source": "https://cloud.mpi-cbg.de/index.php/s/UJopHTRuh6f4wR8",
}


@dataclass(frozen=True)
class Split:
    """Which cells train and which are scored, as regular expressions of their names."""

    training: str
    test: str


SPLITS = {
    "high": Split(r"high_c[123]", r"high_c4"),
    "low": Split(r"low_c[12]", r"low_c3"),
    "cross": Split(r"high_c\d+", r"low_c\d+"),
    "cross-back": Split(r"low_c\d+", r"high_c\d+"),
}


def import_betaseg(
    source: str | Path,
    target: str | Path,
    *,
    split: str = "high",
    validation: Sequence[str] = (),
    classes: Sequence[str] = HEADLINE_CLASSES,
    voxel_size_nm: Sequence[float] = VOXEL_SIZE_NM,
    overwrite: bool = False,
) -> Path:
    """Import the cells of one split; voxels outside the cell body become unknown.

    A class whose mask file a cell lacks is not annotated in it.

    Args:
        source: folder in or below which the ``<cell>_source.tif`` files lie.
        target: folder to write labels and ``dataset.json`` into; images stay where they are.
        split: "high" (c1 to c3, scored on c4), "low" (c1 and c2, scored on c3), "cross" (all high-glucose
            cells, scored on all low) or "cross-back".
        validation: cells to take from training for validation.
        classes: out of :data:`MASKS`; class ids follow this order.
        voxel_size_nm: (z, y, x).
        overwrite: replace a data set in ``target``.

    Returns:
        Path of the ``dataset.json``.

    Raises:
        InputError: unknown options, or cells or masks are missing.
    """
    folder, base = prepare_target(target, overwrite), source_folder(source)
    _check_options(split, classes)
    parts = _parts(_cells(base), SPLITS[split], validation, base)
    size = parse_voxel_size(list(voxel_size_nm), where="voxel_size_nm")
    sections: Sections = {
        part: [_import_cell(image, folder, classes, size) for image in images]
        for part, images in parts.items()
    }
    return write_description(folder, dict(enumerate((BACKGROUND, *classes))), sections, ABOUT)


def _check_options(split: str, classes: Sequence[str]) -> None:
    if split not in SPLITS:
        raise InputError(
            "split", expected=f"one of {', '.join(SPLITS)}", met=repr(split), remedy="choose one"
        )
    unknown = [name for name in classes if name not in MASKS]
    if unknown or not classes or len(set(classes)) < len(classes):
        raise InputError(
            "classes",
            expected=f"classes out of {', '.join(MASKS)}",
            met=repr(list(classes)),
            remedy="correct them",
        )


def _cells(base: Path) -> dict[str, Path]:
    """Image files by cell name."""
    files = {file.name.removesuffix("_source.tif"): file for file in sorted(base.rglob("*_source.tif"))}
    cells = {name: file for name, file in files.items() if re.fullmatch(r"(high|low)_c\d+", name)}
    if not cells:
        raise InputError(
            base,
            expected="cells like high_c1/high_c1_source.tif",
            met="none",
            remedy="name the folder the BetaSeg archive was unpacked to",
        )
    return cells


def _parts(
    cells: Mapping[str, Path], split: Split, validation: Sequence[str], base: Path
) -> dict[str, list[Path]]:
    names = {
        "training": [cell for cell in cells if re.fullmatch(split.training, cell) and cell not in validation],
        "validation": [cell for cell in cells if re.fullmatch(split.training, cell) and cell in validation],
        "test": [cell for cell in cells if re.fullmatch(split.test, cell)],
    }
    if stray := set(validation) - set(names["validation"]):
        raise InputError(
            "validation",
            expected=f"cells of training ({', '.join(names['training'])})",
            met=", ".join(sorted(stray)),
            remedy="name cells that the split trains on",
        )
    for part in ("training", "test"):
        if not names[part]:
            raise InputError(
                base,
                expected=f"cells for {part}",
                met=f"only {', '.join(cells)}",
                remedy="unpack the whole archive or choose another split",
            )
    return {part: [cells[name] for name in members] for part, members in names.items()}


def _import_cell(image: Path, folder: Path, classes: Sequence[str], size: list[float]) -> Item:
    cell = image.name.removesuffix("_source.tif")
    shape = read_header(image).shape
    label = np.zeros(shape, np.uint8)
    annotated = [BACKGROUND]
    for name, suffix in MASKS.items():
        mask_file = image.with_name(f"{cell}_{suffix}.tif")
        if name in classes and mask_file.is_file():
            label[_mask(mask_file, shape)] = 1 + list(classes).index(name)
            annotated.append(name)
    label[~_mask(image.with_name(f"{cell}_{CELL_BODY}.tif"), shape)] = IGNORE_LABEL
    label_file = folder / "labels" / f"{cell}.tif"
    write_stack(label_file, label, (size[0], size[1], size[2]))
    return {"image": str(image), "label": str(label_file), "voxel_size_nm": size, "annotated": annotated}


def _mask(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    mask = read_labels(path).array > 0
    if mask.shape != shape:
        raise InputError(
            path,
            expected=f"the shape of the cell's source, {shape}",
            met=f"{mask.shape}",
            remedy="download it again",
        )
    return mask
