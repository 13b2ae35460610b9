"""Distances from objects to other classes, and the part of their surface that is near one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from scsam_monai.measure.components import Cancel, CancelledError
from scsam_monai.measure.face_files import BlockFaces, FaceFiles
from scsam_monai.progress import Progress

PROTRUSION = 0.1
"""Of a voxel's edge: by so much the nearest face of an oblique digital surface stands out of it, on average.

Measured on pairs of balls; a flat side that is met straight on has none."""
_ROUNDING = 1e-6


def nearest_classes(
    faces: FaceFiles,
    class_of: np.ndarray,
    classes: Sequence[int],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> np.ndarray:
    """The distance from each object's surface to the nearest object of each other class.

    Args:
        faces: of all objects.
        class_of: class of each place in the table, from 1 on.
        classes: ids, in the order of the result.
        progress: called with objects done and in all.
        cancel: asked between objects.

    Returns:
        (N, classes) nm between centres of faces, 0 where two touch; NaN to the own class and to absent ones.

    Raises:
        CancelledError: if so asked.
    """
    count = len(class_of) - 1
    found = np.full((count, len(classes)), np.nan)
    # Block by block, so that the files of few blocks are needed at a time.
    order = sorted(range(1, count + 1), key=lambda place: faces.groups.get(place, [0])[0])
    for done, place in enumerate(order, start=1):
        own = int(class_of[place])
        groups = [_of(faces.read(block, own), place) for block in faces.groups.get(place, [])]
        for column, other in enumerate(classes):
            if other != own and groups and faces.boxes.get(other):
                found[place - 1, column] = _nearest(faces, groups, other)
        if progress is not None and (done % 64 == 0 or done == count):
            progress(done, count)
        if cancel is not None and cancel():
            raise CancelledError
    return found


def _of(block: BlockFaces, place: int) -> np.ndarray:
    first, last = np.searchsorted(block.objects, [place, place + 1])
    return block.places_nm[first:last]


def _nearest(faces: FaceFiles, groups: Sequence[np.ndarray], other: int) -> float:
    best = np.inf
    low = np.min([group.min(axis=0) for group in groups], axis=0)
    high = np.max([group.max(axis=0) for group in groups], axis=0)
    for least, block in faces.near(low, high, other):
        if least >= best:
            break
        box = faces.boxes[other][block]
        for group in groups:
            gaps = np.maximum(np.maximum(box[0] - group.max(axis=0), group.min(axis=0) - box[1]), 0)
            if np.sqrt((gaps**2).sum()) < best:
                distances, _ = faces.tree(block, other).query(group, distance_upper_bound=best)
                best = min(best, float(distances.min()))
    return best


def surface_within(
    faces: FaceFiles,
    class_of: np.ndarray,
    classes: Sequence[int],
    distance_nm: float,
    voxel_size_nm: Sequence[float],
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> np.ndarray:
    """The part of each object's outer surface within a distance of each other class.

    Args:
        faces: of all objects.
        class_of: class of each place in the table, from 1 on.
        classes: ids, in the order of the result.
        distance_nm: above 0.
        voxel_size_nm: (D,) of the axes there are.
        progress: called with blocks done and in all.
        cancel: asked between blocks.

    Returns:
        (N, classes, 3) int64 sums of shares, by the axis of the faces.

    Raises:
        CancelledError: if so asked.
    """
    found = np.zeros((len(class_of) - 1, len(classes), 3), np.int64)
    todo = [(block, own) for own in classes for block in faces.boxes.get(own, {})]
    slack = PROTRUSION * float(np.prod(voxel_size_nm)) ** (1 / len(voxel_size_nm))
    for done, (block, own) in enumerate(todo, start=1):
        mine = faces.read(block, own)
        for column, other in enumerate(classes):
            if other != own:
                near = _within(faces, mine, faces.boxes[own][block], other, distance_nm, slack)
                np.add.at(found, (mine.objects[near] - 1, column, mine.axis[near]), mine.share[near])
        if progress is not None:
            progress(done, len(todo))
        if cancel is not None and cancel():
            raise CancelledError
    return found


def _within(
    faces: FaceFiles,
    mine: BlockFaces,
    box: tuple[np.ndarray, np.ndarray],
    other: int,
    distance_nm: float,
    slack: float,
) -> np.ndarray:
    near = np.zeros(len(mine.objects), bool)
    reach = distance_nm + _ROUNDING
    for least, block in faces.near(*box, other):
        if least > reach:
            break
        left = np.flatnonzero(~near)
        tree = faces.tree(block, other)
        distances, _ = tree.query(mine.places_nm[left], distance_upper_bound=reach)
        near[left[distances <= reach - slack]] = True
        doubtful = left[np.isfinite(distances) & (distances > reach - slack)]
        near[doubtful] = _straight(tree, mine.places_nm[doubtful], reach)
    return near


def _straight(tree: cKDTree, places: np.ndarray, reach: float) -> np.ndarray:
    """Whether a face lies within reach along an axis."""
    found = np.zeros(len(places), bool)
    met = tree.query_ball_point(places, reach)
    owners = np.repeat(np.arange(len(places)), [len(each) for each in met])
    if owners.size:
        between = np.abs(places[owners] - tree.data[np.concatenate(met).astype(np.int64)])
        found[owners[(between > _ROUNDING).sum(axis=1) <= 1]] = True
    return found
