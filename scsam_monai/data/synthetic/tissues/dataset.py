"""A data set of several tissues on disk, all labelled in the common vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic.canvas import VOCABULARY
from scsam_monai.data.synthetic.dataset import GENERATOR, is_complete, write_tiff
from scsam_monai.data.synthetic.looks import check_microscope
from scsam_monai.data.synthetic.tissues import TISSUES, chosen_tissues
from scsam_monai.data.synthetic.tissues.volume import generate_tissue
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import DRAW_AGAIN, check_writable, write_errors, write_json

TISSUE_VERSION = 1
"""Raised whenever the same seed would give other voxels, so that an older data set is made anew."""
_SECTIONS = ("training", "validation", "test")


class _Planned(NamedTuple):
    section: str
    name: str
    tissue: str
    seed: int


def write_tissue_dataset(
    folder: str | Path,
    tissues: str = "all",
    seed: int = 0,
    *,
    training: int | None = None,
    microscope: str | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write volumes of tissues, each looked at in its own way, unless they are there already.

    One volume of each tissue is kept for validation and one for testing.

    Args:
        folder: where the data set goes; made if missing.
        tissues: names with commas between, or ``all``.
        seed: seed of the whole set; each volume derives its own from it.
        training: number of training volumes, the tissues by turns; None for two of each tissue, and at least four.
        microscope: one of ``MODALITIES`` that all are looked at with; None draws one for each volume.
        progress: called with the share done and what is being done.

    Returns:
        Path of ``dataset.json``.

    Raises:
        InputError: if a tissue or microscope is unknown, there are fewer training volumes than tissues, or the
            folder holds a data set that is not a generated one.
    """
    names = chosen_tissues(tissues)
    training = max(4, 2 * len(names)) if training is None else training
    if training < len(names):
        remedy = "ask for more volumes or fewer tissues"
        raise InputError(
            "training", expected=f"{len(names)} volumes or more", met=f"{training}", remedy=remedy
        )
    if microscope is not None:
        check_microscope(microscope)
    folder, planned = Path(folder), _plan(names, seed, training)
    made_by: dict[str, Any] = {
        "name": GENERATOR,
        "tissue_version": TISSUE_VERSION,
        "seed": seed,
        "tissues": names,
        "training": training,
    }
    if microscope is not None:
        made_by["microscope"] = microscope
    description = folder / "dataset.json"
    if is_complete(description, made_by):
        return description
    check_writable(folder)
    report = progress or (lambda share, what: None)
    sections: dict[str, list[dict[str, Any]]] = {section: [] for section in _SECTIONS}
    with write_errors(folder, DRAW_AGAIN):
        # Without its description a half-written folder cannot pass for a finished one.
        description.unlink(missing_ok=True)
        for index, wanted in enumerate(planned):
            report(index / len(planned), wanted.name)
            sections[wanted.section].append(_write(folder, wanted, microscope))
        write_json(description, _describe(made_by, names) | sections)
    report(1.0, "done")
    return description


def _plan(names: Sequence[str], seed: int, training: int) -> list[_Planned]:
    """All volumes; a further one changes no other."""
    planned = [("training", names[index % len(names)], index // len(names)) for index in range(training)]
    planned += [(section, name, 0) for section in ("validation", "test") for name in names]
    return [
        _Planned(section, f"{section}_{name}_{number}", name, _own_seed(seed, section, name, number))
        for section, name, number in planned
    ]


def _own_seed(seed: int, section: str, tissue: str, number: int) -> int:
    """Independent of which other tissues are drawn."""
    words = [seed, _SECTIONS.index(section), *tissue.encode(), number]
    return int(np.random.SeedSequence(words).generate_state(1)[0])


def _write(folder: Path, wanted: _Planned, microscope: str | None) -> dict[str, Any]:
    volume = generate_tissue(wanted.tissue, wanted.seed, microscope)
    item = {"image": f"images/{wanted.name}.tif", "label": f"labels/{wanted.name}.tif"}
    write_tiff(folder / item["image"], volume.image, volume.voxel_size_nm)
    write_tiff(folder / item["label"], volume.labels, volume.voxel_size_nm)
    annotated = [name for name in TISSUES[wanted.tissue].annotated if name != VOCABULARY[0]]
    return {**item, "voxel_size_nm": list(volume.voxel_size_nm), "annotated": annotated}


def _describe(made_by: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {
        "name": f"Generated tissues: {', '.join(names)}",
        "description": "EM-like volumes of several tissues with labels, drawn by a program; no specimen.",
        "licence": "CC0-1.0",
        "generator": made_by,
        "labels": {str(number): name for number, name in enumerate(VOCABULARY)},
        "ignore_label": IGNORE_LABEL,
    }
