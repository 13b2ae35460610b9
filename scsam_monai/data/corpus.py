"""Make a corpus to pre-train on: images of many kinds, with object instances where there are any.

A corpus is a folder with ``images/NAME.tif`` and, for some of them, ``instances/NAME.tif``: object ids, 0 for none.
Names that begin with ``validation`` are looked at and never learned from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.synthetic import (
    TRAINING_STYLES,
    SyntheticVolume,
    chosen_tissues,
    generate_tissue,
    generate_volume,
)
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import DRAW_AGAIN, check_writable, write_errors
from scsam_monai.io import EMImage, read_image, read_labels, write_stack

HELD_OUT = "validation"
HELD_OUT_SEEDS = 1_000_000
"""Added to the seeds of held-out volumes, so that a corpus that grows never learns from one of them."""
FIB25_VOXEL_NM = (8.0, 8.0, 8.0)
FIB25_SPLIT = (200, 210)
"""Sections of the annotated block before the first are learned from, from the second on held out."""
Progress = Callable[[float, str], None]


class Kind(NamedTuple):
    """Shape and voxel size (z, y, x in nm) of a generated volume."""

    shape: tuple[int, int, int]
    voxel_size_nm: tuple[float, float, float]


KINDS = (
    Kind((24, 512, 512), (16.0, 16.0, 16.0)),
    Kind((12, 640, 640), (8.0, 8.0, 8.0)),
    Kind((160, 160, 160), (16.0, 16.0, 16.0)),
    Kind((6, 768, 768), (40.0, 5.0, 5.0)),
)


def write_corpus(
    folder: str | Path,
    *,
    volumes: int = 24,
    held_out: int = 4,
    seed: int = 1000,
    fib25: str | Path | None = None,
    tissues: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Write a corpus that may train redistributable weights.

    Args:
        folder: where to; files that are there already are kept.
        volumes: generated volumes to learn from, of four voxel sizes and all training styles.
        held_out: further generated volumes, held out.
        seed: of the first volume; the sample data set's seeds lie elsewhere.
        fib25: folder with the FIB-25 blocks of neuroproof_examples (CC BY): ``sample2_raw.tif``,
            ``sample2_neuron_bodies.tif`` and ``sample1_raw_unlabelled.tif``; None to do without.
        tissues: names of tissues with commas between, or ``all``, drawn by turns and each volume looked at in
            its own way; None for islet cells in the training styles.
        progress: called with the share done and what is being done.

    Returns:
        The folder.

    Raises:
        InputError: if the folder cannot be written to, a FIB-25 file is missing or does not fit its labels, or a
            tissue is unknown.
    """
    folder = Path(folder)
    report = progress or (lambda share, what: None)
    names = None if tissues is None else chosen_tissues(tissues)
    check_writable(folder)
    wanted = [(member_name(index, names), index, False) for index in range(volumes)]
    wanted += [(f"{HELD_OUT}_{member_name(index, names)}", index, True) for index in range(held_out)]
    if fib25 is not None and not (folder / "images" / "fib25_sample1.tif").is_file():
        _add_fib25(folder, Path(fib25))
    for position, (name, index, apart) in enumerate(wanted):
        report(position / len(wanted), name)
        if not (folder / "instances" / f"{name}.tif").is_file():
            volume = member(index, names, seed=seed + HELD_OUT_SEEDS * apart)
            with write_errors(folder, DRAW_AGAIN):
                _add(folder, name, volume.image, volume.instances, volume.voxel_size_nm)
    report(1.0, "done")
    return folder


def member_name(index: int, tissues: Sequence[str] | None) -> str:
    """Name of the ``index``-th volume; another tissue never goes by the name of one that is there."""
    return f"{'generated' if tissues is None else tissues[index % len(tissues)]}_{index:03d}"


def member(index: int, tissues: Sequence[str] | None, *, seed: int) -> SyntheticVolume:
    """Draw the ``index``-th volume of a corpus that begins with a seed."""
    if tissues is not None:
        return generate_tissue(tissues[index % len(tissues)], seed + index)
    styles = list(TRAINING_STYLES)
    kind, style = KINDS[index % len(KINDS)], styles[index % len(styles)]
    return generate_volume(kind.shape, kind.voxel_size_nm, seed + index, style)


def _add_fib25(folder: Path, source: Path) -> None:
    raw = _block(source / "sample2_raw.tif", "a FIB-25 block", read_image)
    bodies = _block(source / "sample2_neuron_bodies.tif", "neuron bodies of FIB-25", read_labels)
    further = _block(source / "sample1_raw_unlabelled.tif", "a FIB-25 block", read_image)
    if raw.shape != bodies.shape:
        raise InputError(
            source / "sample2_neuron_bodies.tif",
            expected=f"the shape of the image, {raw.shape}",
            met=f"{bodies.shape}",
            remedy="use files of one block",
        )
    before, after = FIB25_SPLIT
    _add(folder, "fib25_sample2", raw[:before], bodies[:before], FIB25_VOXEL_NM)
    _add(folder, f"{HELD_OUT}_fib25_sample2", raw[after:], bodies[after:], FIB25_VOXEL_NM)
    _add(folder, "fib25_sample1", further, None, FIB25_VOXEL_NM)


def _block(path: Path, what: str, read: Callable[[Path], EMImage]) -> NDArray[np.generic]:
    if not path.is_file():
        remedy = "name the folder that holds the FIB-25 blocks"
        raise InputError(path, expected=what, met="no such file", remedy=remedy)
    return read(path).array


def _add(
    folder: Path,
    name: str,
    image: NDArray[np.generic],
    instances: NDArray[np.generic] | None,
    voxel_size_nm: tuple[float, float, float],
) -> None:
    # The image first: a name without instances is a valid member, instances without an image are not.
    write_stack(folder / "images" / f"{name}.tif", image, voxel_size_nm)
    if instances is not None:
        if int(instances.max()) > np.iinfo(np.uint16).max:
            met = f"{instances.max()}"
            raise InputError(name, expected="at most 65535 objects", met=met, remedy="make a smaller volume")
        write_stack(folder / "instances" / f"{name}.tif", instances.astype(np.uint16), voxel_size_nm)
