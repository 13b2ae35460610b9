"""What a volume's scores are made from, kept apart for each part of it, so that parts can be drawn again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from monai.metrics.utils import get_surface_distance
from torch import Tensor, as_tensor

from scsam_monai.metrics.boundary import outline, within
from scsam_monai.metrics.confusion import annotated_mask, scorable
from scsam_monai.metrics.matching import ObjectMatches, match_objects

PARTS = ("blocks", "sections")
BLOCKS_ALONG = 4
"""A volume is cut into so many blocks along each axis, where it is that long."""


@dataclass(frozen=True, eq=False)
class Distances:
    """Distances between the surfaces of one class.

    Attributes:
        nm: (V,) the distances that occur, ascending; infinite where the other surface does not exist.
        predicted: (parts, V) how many voxels of the predicted surface have each.
        true: (parts, V) the same of the true one.
    """

    nm: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


@dataclass(frozen=True, eq=False)
class Evidence:
    """Counts of one volume by part.

    Attributes:
        confusion: (parts, K', K') int64, rows are ground truth.
        boundary: (parts, K', 4) int64, as :func:`~scsam_monai.metrics.boundary_counts` has them.
        distances: by class id.
        objects: by class id, with the parts of the true and of the predicted objects.
    """

    confusion: np.ndarray
    boundary: np.ndarray
    distances: dict[int, Distances]
    objects: dict[int, tuple[ObjectMatches, np.ndarray, np.ndarray]]

    @property
    def parts(self) -> int:
        """How many there are."""
        return len(self.confusion)


def gather_evidence(
    prediction: np.ndarray,
    truth: np.ndarray,
    n_classes: int,
    voxel_size_nm: Sequence[float],
    *,
    parts: str = "blocks",
    tolerance_px: float = 2.0,
    ignore_label: int = 255,
    annotated: Sequence[int] | None = None,
) -> Iterator[Evidence | int]:
    """Count everything that scores are made from.

    Args:
        prediction: class ids (y, x) or (z, y, x).
        truth: class ids or ``ignore_label``, same shape.
        n_classes: K', background included.
        voxel_size_nm: (z, y, x).
        parts: ``blocks`` or ``sections``.
        tolerance_px: of the boundary F1.
        ignore_label: marks unknown voxels.
        annotated: ids of the annotated classes; None for all.

    Yields:
        The id of each class that is done, and in the end the evidence.

    Raises:
        InputError: the shapes differ, or a value is no class id.
    """
    mask = annotated_mask(annotated, n_classes)
    known = scorable(_tensor(prediction), _tensor(truth), mask, ignore_label).numpy()
    numbering = PartNumbers(truth.shape, parts)
    confusion = _confusions(prediction, truth, known, n_classes, numbering)
    boundary = np.zeros((numbering.count, n_classes, 4), np.int64)
    distances, objects = {}, {}
    for class_id in np.flatnonzero(mask.numpy()).tolist():
        predicted, true = prediction == class_id, truth == class_id
        boundary[:, class_id] = _boundaries(predicted, true, known, tolerance_px, numbering)
        if class_id > 0 and (true.any() or predicted.any()):
            distances[class_id] = _distances(predicted, true, known, voxel_size_nm, numbering)
            found = match_objects(predicted, true, known, voxel_size_nm)
            places = (numbering.of(found.true_centre), numbering.of(found.predicted_centre))
            objects[class_id] = (found, *places)
        yield class_id
    yield Evidence(confusion, boundary, distances, objects)


class PartNumbers:
    """Numbers the parts of a volume.

    Args:
        shape: of the volume, (y, x) or (z, y, x).
        parts: ``blocks`` or ``sections``.
    """

    def __init__(self, shape: tuple[int, ...], parts: str) -> None:
        if parts == "sections":
            pieces = [length if axis == len(shape) - 3 else 1 for axis, length in enumerate(shape)]
        else:
            pieces = [min(BLOCKS_ALONG, length) for length in shape]
        self._along = [
            np.arange(length) * count // length for length, count in zip(shape, pieces, strict=True)
        ]
        self._counts = [int(along[-1]) + 1 for along in self._along]
        self.count = math.prod(self._counts)

    def of(self, places: np.ndarray) -> np.ndarray:
        """The parts of (P, D) places in voxels."""
        number = np.zeros(len(places), np.int64)
        for axis, along in enumerate(self._along):
            number = number * self._counts[axis] + along[np.rint(places[:, axis]).astype(np.int64)]
        return number

    def boxes(self) -> Iterator[tuple[slice, ...]]:
        """The parts as boxes, in order."""
        sides = [
            [slice(*np.searchsorted(along, [number, number + 1]).tolist()) for number in range(count)]
            for along, count in zip(self._along, self._counts, strict=True)
        ]
        yield from product(*sides)


def _tensor(labels: np.ndarray) -> Tensor:
    return as_tensor(labels.astype(np.int32))


def _confusions(
    prediction: np.ndarray, truth: np.ndarray, known: np.ndarray, n_classes: int, numbering: PartNumbers
) -> np.ndarray:
    found = np.zeros((numbering.count, n_classes**2), np.int64)
    for row, box in zip(found, numbering.boxes(), strict=True):
        seen = known[box]
        pairs = truth[box][seen].astype(np.int64) * n_classes + prediction[box][seen]
        row += np.bincount(pairs, minlength=n_classes**2)
    return found.reshape(-1, n_classes, n_classes)


def _boundaries(
    predicted: np.ndarray, true: np.ndarray, known: np.ndarray, tolerance_px: float, numbering: PartNumbers
) -> np.ndarray:
    """(parts, 4) counts of the outlines in all sections."""
    counts = np.zeros((numbering.count, 4), np.int64)
    sections = [()] if true.ndim == 2 else [(z,) for z in range(len(true))]
    for at in sections:
        borders = [outline(mask[at], known[at]) for mask in (predicted, true)]
        near = [within(border, tolerance_px) for border in borders]
        for column, pixels in enumerate((borders[0] & near[1], borders[0], borders[1] & near[0], borders[1])):
            places = np.argwhere(pixels)
            if at:
                places = np.insert(places, 0, at[0], axis=1)
            counts[:, column] += np.bincount(numbering.of(places), minlength=numbering.count)
    return counts


def _distances(
    predicted: np.ndarray,
    true: np.ndarray,
    known: np.ndarray,
    voxel_size_nm: Sequence[float],
    numbering: PartNumbers,
) -> Distances:
    spacing = [float(edge) for edge in voxel_size_nm[-true.ndim :]]
    surfaces = [outline(mask, known) for mask in (predicted, true)]
    box = _around(surfaces[0] | surfaces[1])
    cut = [surface[box] for surface in surfaces]
    nm = [_to(one, other, spacing) for one, other in ((cut[0], cut[1]), (cut[1], cut[0]))]
    values, at = np.unique(np.round(np.concatenate(nm), 6), return_inverse=True)
    tables = []
    for surface, inverse in zip(surfaces, np.split(at, [len(nm[0])]), strict=True):
        table = np.zeros((numbering.count, len(values)), np.int64)
        np.add.at(table, (numbering.of(np.argwhere(surface)), inverse), 1)
        tables.append(table)
    return Distances(values, *tables)


def _to(surface: np.ndarray, other: np.ndarray, spacing: list[float]) -> np.ndarray:
    """How far each voxel of a surface is from the other one; infinitely where that does not exist."""
    if not other.any() or not surface.any():
        return np.full(int(surface.sum()), np.inf)
    return np.asarray(get_surface_distance(surface, other, "euclidean", spacing), np.float64)


def _around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all of a mask."""
    if not mask.any():
        return tuple(slice(0, 1) for _ in mask.shape)
    spans = []
    for axis in range(mask.ndim):
        others = tuple(other for other in range(mask.ndim) if other != axis)
        met = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(int(met[0]), int(met[-1]) + 1))
    return tuple(spans)
