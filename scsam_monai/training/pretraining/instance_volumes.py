"""Volumes with object instances in memory, and the positions that crops are drawn around."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scsam_monai.data.corpus import HELD_OUT
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_over
from scsam_monai.io import intensity_range, read_image, read_labels
from scsam_monai.io.files import is_supported
from scsam_monai.io.image import as_volume
from scsam_monai.io.intensity import eight_bits
from scsam_monai.io.voxel_size import is_isotropic

ANCHORS = 4096
"""Voxels of each volume that crops are drawn around."""


@dataclass(frozen=True)
class InstanceVolume:
    """An image with the objects in it.

    Attributes:
        name: of the files, without the suffix.
        image: (z, y, x) uint8, percentiles 0.5 to 99.5 spread over 0 to 255.
        instances: (z, y, x) unsigned object ids, 0 for none.
        anchors: (n, 3) voxels (z, y, x) inside objects, small and large objects alike.
        planes: axes that a section may be perpendicular to.
    """

    name: str
    image: NDArray[np.uint8]
    instances: NDArray[Any]
    anchors: NDArray[np.int64]
    planes: tuple[int, ...]


def load_corpus(folder: str | Path, *, held_out: bool = False, seed: int = 0) -> list[InstanceVolume]:
    """Read the volumes of a corpus that have instances.

    Args:
        folder: with ``images/`` and ``instances/``, files of one object under one name.
        held_out: those whose names begin with ``validation``, or else all the others.
        seed: of the anchors.

    Raises:
        InputError: if there are none, or a pair does not fit.
    """
    wanted = [path for path in _instance_files(folder) if path.name.startswith(HELD_OUT) == held_out]
    if not wanted:
        which = f"named {HELD_OUT}*" if held_out else f"not named {HELD_OUT}*"
        raise InputError(
            Path(folder) / "instances",
            expected=f"at least one volume {which}",
            met="none",
            remedy="write a corpus with: scsam corpus FOLDER; or add one of your own",
        )
    return [_load(Path(folder) / "images" / path.name, path, seed) for path in wanted]


def corpus_hash(folder: str | Path) -> str:
    """SHA-256 of the names and contents of all labelled volumes of a corpus."""
    parts: list[str | Path] = []
    for instances in _instance_files(folder):
        for path in (Path(folder) / "images" / instances.name, instances):
            parts += [path.name, path] if path.is_file() else [path.name]
    return sha256_over(parts)


def _instance_files(folder: str | Path) -> list[Path]:
    return sorted(path for path in (Path(folder) / "instances").glob("*") if is_supported(path))


def _load(image_path: Path, instances_path: Path, seed: int) -> InstanceVolume:
    image, labels = read_image(image_path), read_labels(instances_path)
    if image.array.shape != labels.array.shape:
        raise InputError(
            instances_path,
            expected=f"the shape of its image, {image.array.shape}",
            met=f"{labels.array.shape}",
            remedy="pair every image with its own instances",
        )
    if image.voxel_size_nm is None:
        remedy = "save it with its voxel size, for instance with scsam_monai.io.write_stack"
        raise InputError(image_path, expected="a voxel size in the file", met="none", remedy=remedy)
    name = instances_path.name.split(".")[0]
    return instance_volume(name, image.array, labels.array, image.voxel_size_nm, seed)


def instance_volume(
    name: str,
    image: NDArray[Any],
    instances: NDArray[Any],
    voxel_size_nm: Sequence[float],
    seed: int = 0,
) -> InstanceVolume:
    """Prepare a volume that is in memory.

    Args:
        name: for messages.
        image: (y, x) or (z, y, x) grey values of any scale.
        instances: object ids of the same shape, 0 for none; they are numbered again without gaps, in order.
        voxel_size_nm: (z, y, x).
        seed: of the anchors.

    Raises:
        InputError: if there is no object or no contrast.
    """
    low, high = intensity_range(image, where=name)
    compact = _compact(as_volume(instances))
    return InstanceVolume(
        name=name,
        image=eight_bits(as_volume(image), low, high),
        instances=compact,
        anchors=_anchors(compact, name, seed),
        planes=_planes(voxel_size_nm),
    )


def _compact(instances: NDArray[Any]) -> NDArray[Any]:
    """Number objects without gaps, so that ids fit the smallest type."""
    ids, inverse = np.unique(instances, return_inverse=True)
    renumbered = inverse.reshape(instances.shape) + int(ids[0] != 0)
    return renumbered.astype(np.uint16 if len(ids) < np.iinfo(np.uint16).max else np.uint32)


def _planes(voxel_size_nm: Sequence[float]) -> tuple[int, ...]:
    return (0, 1, 2) if is_isotropic(voxel_size_nm) else (0,)


def _anchors(instances: NDArray[Any], where: str, seed: int) -> NDArray[np.int64]:
    """Draw voxels so that every octave of object size gets the same number of them."""
    inside = np.flatnonzero(instances)
    if not inside.size:
        raise InputError(where, expected="objects", met="the value 0 everywhere", remedy="leave it out")
    rng = np.random.default_rng((seed, inside.size))
    if inside.size > 64 * ANCHORS:
        inside = np.sort(rng.choice(inside, 64 * ANCHORS, replace=False))
    ids = instances.reshape(-1)[inside]
    octave = np.log2(np.bincount(instances.reshape(-1))[ids]).astype(int)
    weight = 1 / np.bincount(octave)[octave]
    chosen = rng.choice(inside, ANCHORS, p=weight / weight.sum())
    return np.stack(np.unravel_index(chosen, instances.shape), axis=-1).astype(np.int64)
