"""Score a predicted volume against the ground truth: per class, in nm, with bootstrap intervals."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from scsam_monai.errors import InputError, check_choice
from scsam_monai.metrics.boundary import boundary_f1
from scsam_monai.metrics.evidence import PARTS, Distances, Evidence, gather_evidence
from scsam_monai.metrics.matching import panoptic_quality
from scsam_monai.metrics.objects import recall_by_size
from scsam_monai.metrics.table import all_scores
from scsam_monai.progress import Progress

SIZES_NM = (100.0, 300.0, 1000.0)
"""Default edges between ranges of object size."""
FEW_PARTS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Score:
    """A figure with its interval.

    Attributes:
        value: of the whole volume; NaN if it does not exist.
        low: 2.5th percentile over volumes of parts drawn again; NaN without an interval.
        high: 97.5th percentile.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What :func:`evaluate_labels` returns.

    Attributes:
        scores: by class name, by the name of the score.
        sizes: one row for each class and range of object size: ``class``, ``low_nm``, ``high_nm``, ``objects``,
            ``found``, ``recall``, ``predicted``, ``right``, ``precision``.
        confusion: (K', K') voxels, rows are ground truth.
        parts: how many parts of the volume the intervals come from.
    """

    scores: dict[str, dict[str, Score]]
    sizes: list[dict[str, Any]]
    confusion: np.ndarray
    parts: int


def evaluate_labels(
    prediction: np.ndarray,
    truth: np.ndarray,
    class_names: Sequence[str],
    voxel_size_nm: Sequence[float],
    *,
    annotated: Sequence[int] | None = None,
    ignore_label: int = 255,
    tolerance_nm: float | None = None,
    tolerance_px: float = 2.0,
    sizes_nm: Sequence[float] = SIZES_NM,
    resample: str = "blocks",
    samples: int = 1000,
    seed: int = 0,
    progress: Progress | None = None,
) -> Evaluation:
    """Score class labels.

    IoU, Dice, boundary F1, the 95th percentile of the Hausdorff distance and the surface Dice in nm, precision and
    recall of objects, and panoptic quality. The intervals come from drawing parts of the volume again, with
    replacement: neighbouring voxels are no independent samples, whole blocks nearly are.

    Args:
        prediction: class ids (y, x) or (z, y, x).
        truth: class ids or ``ignore_label``, same shape.
        class_names: of each class id, background first.
        voxel_size_nm: (z, y, x) in nm.
        annotated: ids of the annotated classes; None for all.
        ignore_label: marks unknown voxels, which count in no score.
        tolerance_nm: of the surface Dice; None takes twice the longest edge of a voxel.
        tolerance_px: of the boundary F1, in the plane of a section.
        sizes_nm: edges between ranges of equivalent diameter.
        resample: ``blocks``, up to four along each axis, or ``sections``.
        samples: how often parts are drawn.
        seed: of the draws.
        progress: called with classes done and in all.

    Raises:
        InputError: the shapes differ, or a value is no class id.
    """
    check_choice("resample", resample, PARTS)
    if resample == "sections" and (truth.ndim == 2 or len(truth) < 2):
        raise InputError("resample", expected="several sections", met="a single one", remedy="choose blocks")
    edges = voxel_size_nm[-truth.ndim :]
    tolerance = 2.0 * max(edges) if tolerance_nm is None else tolerance_nm
    n_classes = len(class_names)
    evidence: Evidence | None = None
    for done, found in enumerate(
        gather_evidence(
            prediction,
            truth,
            n_classes,
            voxel_size_nm,
            parts=resample,
            tolerance_px=tolerance_px,
            ignore_label=ignore_label,
            annotated=annotated,
        ),
        start=1,
    ):
        if isinstance(found, Evidence):
            evidence = found
        elif progress is not None:
            progress(min(done, n_classes), n_classes)
    assert evidence is not None
    scored = range(n_classes) if annotated is None else sorted({0, *annotated})
    columns = _scores(evidence, np.ones(evidence.parts), tolerance)
    low, high = _intervals(evidence, columns, tolerance, samples, seed)
    scores = {
        class_names[k]: {name: Score(*(float(t[name][k]) for t in (columns, low, high))) for name in columns}
        for k in scored
    }
    confusion = evidence.confusion.sum(axis=0)
    return Evaluation(scores, _sizes(evidence, class_names, sizes_nm), confusion, evidence.parts)


def _scores(evidence: Evidence, weights: np.ndarray, tolerance_nm: float) -> dict[str, np.ndarray]:
    """Every score of every class, (K',), with each part counted so many times."""
    confusion = torch.as_tensor(np.tensordot(weights, evidence.confusion, axes=1))
    n_classes = confusion.shape[0]
    scores = {name: each.numpy() for name, each in all_scores(confusion).items()}
    scores["boundary_f1"] = boundary_f1(np.tensordot(weights, evidence.boundary, axes=1))
    for name, score in SURFACE_SCORES.items():
        scores[name] = np.full(n_classes, np.nan)
        for class_id, distances in evidence.distances.items():
            scores[name][class_id] = score(distances, weights, tolerance_nm)
    names = ("object_precision", "object_recall", "panoptic_quality")
    scores |= {name: np.full(n_classes, np.nan) for name in names}
    for class_id, (matches, true_parts, predicted_parts) in evidence.objects.items():
        values = panoptic_quality(
            matches.true_iou, matches.predicted_iou, weights[true_parts], weights[predicted_parts]
        )
        for name, value in zip(names, values, strict=True):
            scores[name][class_id] = value
    return scores


def hausdorff95(distances: Distances, weights: np.ndarray, tolerance_nm: float = 0.0) -> float:
    """The larger of both directions' 95th percentiles in nm, as MONAI's; infinite if one surface is missing.

    Args:
        distances: of the surfaces.
        weights: (parts,) how often each part counts.
        tolerance_nm: not used.
    """
    sides = [
        _percentile(distances.nm, weights @ table, 0.95) for table in (distances.predicted, distances.true)
    ]
    present = [side for side in sides if not math.isnan(side)]
    return max(present) if present else math.nan


def surface_dice(distances: Distances, weights: np.ndarray, tolerance_nm: float) -> float:
    """The fraction of both surfaces that has the other one within the tolerance (Nikolov et al. 2021).

    Args:
        distances: of the surfaces.
        weights: (parts,) how often each part counts.
        tolerance_nm: largest distance at which they agree.
    """
    counts = weights @ (distances.predicted + distances.true)
    total = counts.sum()
    return float(counts[distances.nm <= tolerance_nm + 1e-6].sum() / total) if total else math.nan


SURFACE_SCORES: dict[str, Callable[[Distances, np.ndarray, float], float]] = {
    "hd95_nm": hausdorff95,
    "surface_dice": surface_dice,
}
"""By name, what scores a class from the distances between its surfaces."""


def _percentile(values: np.ndarray, counts: np.ndarray, fraction: float) -> float:
    """With linear interpolation between neighbours, as NumPy's default; NaN of nothing."""
    total = counts.sum()
    if total <= 0:
        return math.nan
    ends = np.cumsum(counts)
    place = fraction * (total - 1)
    below, above = (
        int(np.searchsorted(ends, at, side="right")) for at in (math.floor(place), math.ceil(place))
    )
    low, high = float(values[below]), float(values[above])
    return low if low == high else low + (high - low) * (place - math.floor(place))


def _intervals(
    evidence: Evidence, columns: Mapping[str, np.ndarray], tolerance_nm: float, samples: int, seed: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The 2.5th and 97.5th percentile of every score over drawn volumes."""
    used = evidence.confusion.sum(axis=(1, 2)) > 0
    if used.sum() < FEW_PARTS:
        logger.warning("only %d parts hold known voxels: intervals from so few mean little", used.sum())
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[np.ndarray]] = {name: [] for name in columns}
    chances = used / max(used.sum(), 1)
    for _ in range(samples if used.any() else 0):
        weights = generator.multinomial(int(used.sum()), chances).astype(np.float64)
        for name, values in _scores(evidence, weights, tolerance_nm).items():
            drawn[name].append(values)
    ends = []
    for percent in (2.5, 97.5):
        ends.append(
            {
                name: _nan_percentile(np.array(drawn[name]), percent) if drawn[name] else values * np.nan
                for name, values in columns.items()
            }
        )
    return ends[0], ends[1]


def _nan_percentile(drawn: np.ndarray, percent: float) -> np.ndarray:
    """Of each column, over the draws in which the score exists; NaN where that is less than half of them."""
    found = np.full(drawn.shape[1], np.nan)
    for column in range(drawn.shape[1]):
        values = drawn[:, column]
        values = values[~np.isnan(values)]
        if 2 * len(values) >= len(drawn):
            found[column] = np.percentile(values, percent, method="inverted_cdf")
    return found


def _sizes(evidence: Evidence, class_names: Sequence[str], sizes_nm: Sequence[float]) -> list[dict[str, Any]]:
    rows = []
    if any(one >= other for one, other in pairwise([0.0, *sizes_nm])):
        raise InputError(
            "sizes",
            expected="ascending sizes above 0 in nm",
            met=", ".join(f"{size:g}" for size in sizes_nm),
            remedy="like 100,300,1000",
        )
    for class_id, (matches, _, _) in evidence.objects.items():
        found = recall_by_size(matches.true_nm, matches.true_iou > 0, sizes_nm)
        right = recall_by_size(matches.predicted_nm, matches.predicted_iou > 0, sizes_nm)
        for true, predicted in zip(found, right, strict=True):
            rows.append(
                {
                    "class": class_names[class_id],
                    "low_nm": true.low_nm,
                    "high_nm": true.high_nm,
                    "objects": true.objects,
                    "found": true.found,
                    "recall": true.recall,
                    "predicted": predicted.objects,
                    "right": predicted.found,
                    "precision": predicted.recall,
                }
            )
    return rows
