"""The sample data set: generated volumes on disk, with the description that training reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import tifffile
from numpy.typing import NDArray

from scsam_monai.data.dataset import DatasetDescription, read_json
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic.canvas import CLASSES
from scsam_monai.data.synthetic.volume import generate_volume
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import DRAW_AGAIN, atomic_path, check_writable, write_errors, write_json

GENERATOR = "scsam_monai.data.synthetic"
DRAWN = "islet"
"""The tissue of the sample data set."""
GENERATOR_VERSION = 1
"""Raised whenever the same seed would give other voxels, so that an older data set is made anew."""


@dataclass(frozen=True)
class _Volume:
    section: str
    name: str
    style: str


_TRAINING_STYLES = ("fib-sem", "sbf-sem", "sstem", "fib-sem")
_FEWEST = len(_TRAINING_STYLES)


def _volumes(training: int) -> list[_Volume]:
    """All volumes in the order of their seeds: further training volumes come last, so that none other changes."""
    learned = [
        _Volume("training", f"train_{index}", _TRAINING_STYLES[index % _FEWEST]) for index in range(training)
    ]
    kept = [_Volume("validation", "validation_0", "sbf-sem"), _Volume("test", "test_0", "unseen-low-dose")]
    return [*learned[:_FEWEST], *kept, *learned[_FEWEST:]]


def write_sample_dataset(
    folder: str | Path,
    seed: int = 0,
    *,
    training: int = _FEWEST,
    shape: tuple[int, int, int] = (24, 320, 320),
    voxel_size_nm: tuple[float, float, float] = (16.0, 16.0, 16.0),
    dtype: str = "uint8",
    progress: Callable[[float, str], None] | None = None,
) -> Path:
    """Write training volumes, one for validation and one for testing, unless they are there already.

    The test volume is drawn in a style whose every range lies outside those of the training styles.

    Args:
        folder: where the data set goes; made if missing.
        seed: seed of the whole set; each volume derives its own from it.
        training: number of training volumes, four or more; the other volumes are the same whatever it is.
        shape: voxels of each volume along z, y, x.
        voxel_size_nm: voxel size along z, y, x.
        dtype: ``"uint8"`` or ``"uint16"``.
        progress: called with the share done and what is being done.

    Returns:
        Path of ``dataset.json``.

    Raises:
        InputError: if the folder holds a data set that is not a generated one or cannot be written to, or an
            argument does not fit.
    """
    if training < _FEWEST:
        remedy = "leave it out for the sample data set"
        raise InputError("training", expected=f"{_FEWEST} volumes or more", met=f"{training}", remedy=remedy)
    folder, volumes = Path(folder), _volumes(training)
    made_by = _generator(seed, shape, voxel_size_nm, dtype, volumes)
    description = folder / "dataset.json"
    if is_complete(description, made_by):
        return description
    check_writable(folder)
    report = progress or (lambda share, what: None)
    with write_errors(folder, DRAW_AGAIN):
        # Without its description a half-written folder cannot pass for a finished one.
        description.unlink(missing_ok=True)
        for index, wanted in enumerate(volumes):
            report(index / len(volumes), wanted.name)
            own_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
            volume = generate_volume(shape, voxel_size_nm, own_seed, wanted.style, dtype)
            write_tiff(folder / "images" / f"{wanted.name}.tif", volume.image, voxel_size_nm)
            write_tiff(folder / "labels" / f"{wanted.name}.tif", volume.labels, voxel_size_nm)
        write_json(description, _describe(made_by, volumes))
    report(1.0, "done")
    return description


def _generator(
    seed: int,
    shape: tuple[int, ...],
    voxel_size_nm: tuple[float, ...],
    dtype: str,
    volumes: Sequence[_Volume],
) -> dict[str, Any]:
    return {
        "name": GENERATOR,
        "version": GENERATOR_VERSION,
        "seed": seed,
        "shape": list(shape),
        "voxel_size_nm": [float(size) for size in voxel_size_nm],
        "dtype": dtype,
        "styles": {volume.name: volume.style for volume in volumes},
    }


def _describe(made_by: dict[str, Any], volumes: Sequence[_Volume]) -> dict[str, Any]:
    sections: dict[str, list[dict[str, str]]] = {"training": [], "validation": [], "test": []}
    for volume in volumes:
        item = {"image": f"images/{volume.name}.tif", "label": f"labels/{volume.name}.tif"}
        sections[volume.section].append(item)
    return {
        "name": "Generated islet cells",
        "description": "EM-like volumes of pancreatic islet cells with labels, drawn by a program; no specimen.",
        "licence": "CC0-1.0",
        "generator": made_by,
        "labels": {str(number): name for number, name in enumerate(CLASSES)},
        "voxel_size_nm": made_by["voxel_size_nm"],
        "ignore_label": IGNORE_LABEL,
        **sections,
    }


def drawn_tissues(description: DatasetDescription) -> list[str] | None:
    """Return the tissues that a data set's volumes were drawn of; None where nobody drew them."""
    made_by = read_json(description.path).get("generator")
    if not isinstance(made_by, dict) or made_by.get("name") != GENERATOR:
        return None
    return list(map(str, made_by.get("tissues", [DRAWN])))


def is_complete(description: Path, made_by: dict[str, Any]) -> bool:
    """Whether exactly this data set stands there with all its files.

    Raises:
        InputError: if a data set stands there that no generator wrote.
    """
    if not description.exists():
        return False
    try:
        found = json.loads(description.read_text(encoding="utf-8"))
        name = found.get("generator", {}).get("name")
    except (ValueError, AttributeError, RecursionError):
        name = None
    if name != GENERATOR:
        raise InputError(
            description,
            expected="no data set or a generated one",
            met="a description that this generator did not write",
            remedy="choose another folder for the sample data set",
        )
    items = [item for part in ("training", "validation", "test") for item in found[part]]
    files = [item[key] for item in items for key in ("image", "label")]
    return found["generator"] == made_by and all((description.parent / file).is_file() for file in files)


def write_tiff(path: Path, volume: NDArray[Any], voxel_size_nm: tuple[float, float, float]) -> None:
    """Write a volume ``(z, y, x)`` that is the same file at each run."""
    z, y, x = voxel_size_nm
    # tifffile's own identifier differs at each run and the file with it.
    sizes: dict[str, Any] = {"UUID": str(uuid5(NAMESPACE_URL, f"{GENERATOR}/{path.name}"))}
    for axis, size in (("X", x), ("Y", y), ("Z", z)):
        sizes[f"PhysicalSize{axis}"], sizes[f"PhysicalSize{axis}Unit"] = float(size), "nm"
    with atomic_path(path) as temporary:
        tifffile.imwrite(
            temporary,
            volume,
            ome=True,
            compression="zlib",
            photometric="minisblack",
            metadata={"axes": "ZYX", **sizes},
        )
