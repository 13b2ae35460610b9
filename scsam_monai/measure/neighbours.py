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
_CELL_VOXELS, _FEW = (8, 2), 64
"""Edges of the cubes that places are sorted into before each is looked at, and for how many that pays."""
Box = tuple[np.ndarray, np.ndarray]


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
        pieces = _Pieces(faces, place, own) if place in faces.groups else None
        for column, other in enumerate(classes):
            if other != own and pieces is not None and faces.boxes.get(other):
                found[place - 1, column] = _nearest(pieces, other)
        if progress is not None and (done % 64 == 0 or done == count):
            progress(done, count)
        if cancel is not None and cancel():
            raise CancelledError
    return found


class _Pieces:
    """The faces of one object in each block that it has some in, read when they are asked for."""

    def __init__(self, faces: FaceFiles, place: int, own: int) -> None:
        self.faces, self._place, self._own = faces, place, own
        self.boxes = {block: _box(self.read(block)) for block in faces.groups[place]}

    def read(self, block: int) -> np.ndarray:
        """(P, D) places in nm."""
        kept = self.faces.read(block, self._own)
        first, last = np.searchsorted(kept.objects, [self._place, self._place + 1])
        return kept.places_nm[first:last]


def _box(places: np.ndarray) -> Box:
    return places.min(axis=0), places.max(axis=0)


def _nearest(pieces: _Pieces, other: int) -> float:
    """The distance from an object to the nearest of another class: near pairs of blocks first, few of them read."""
    faces, best = pieces.faces, np.inf
    firsts = []
    for piece, box in pieces.boxes.items():
        blocks, gaps = faces.gaps(*box, other)
        firsts.append((float(gaps.min()), piece, int(blocks[gaps.argmin()])))
    firsts.sort()
    for least, piece, block in firsts:
        if least >= best:
            break
        best = _nearer(faces, block, other, pieces.read(piece), best)
    for least, piece, first in firsts:
        if least >= best:
            break
        for gap, block in faces.near(*pieces.boxes[piece], other, below=best):
            if gap >= best:
                break
            if block != first:
                best = _nearer(faces, block, other, pieces.read(piece), best)
    return best


def _nearer(faces: FaceFiles, block: int, other: int, places: np.ndarray, best: float) -> float:
    """Return the distance from places to a class in a block, or ``best`` where none is nearer."""
    tree, box = faces.tree(block, other), faces.boxes[other][block]
    gaps = np.maximum(np.maximum(box[0] - places, places - box[1]), 0)
    places = places[np.sqrt((gaps**2).sum(axis=1)) < best]
    for edge in _CELL_VOXELS:
        if len(places) > _FEW:
            places, best = _in_near_cells(tree, places, best, edge * faces.edge_nm)
    return _query(tree, places, best)


def _query(tree: cKDTree, places: np.ndarray, best: float) -> float:
    distances, _ = tree.query(places, distance_upper_bound=best)
    return min(best, float(distances.min(initial=np.inf)))


def _in_near_cells(
    tree: cKDTree, places: np.ndarray, best: float, cell_nm: float
) -> tuple[np.ndarray, float]:
    """Return the places that may be nearer than the best so far, and the best after one cell of them was seen.

    Places are sorted into cubes; how far the middle of a cube is tells how near its places can be at most.
    """
    corner = places.min(axis=0)
    cells = ((places - corner) / cell_nm).astype(np.int64)
    shape = tuple(cells.max(axis=0) + 1)
    keys, member = np.unique(np.ravel_multi_index(tuple(cells.T), shape), return_inverse=True)
    middles = corner + (np.stack(np.unravel_index(keys, shape), axis=1) + 0.5) * cell_nm
    reach = 0.5 * cell_nm * np.sqrt(places.shape[1])
    distances, _ = tree.query(middles, distance_upper_bound=best + reach)
    best = _query(tree, places[member == np.argmin(distances)], best)
    return places[(distances < best + reach + _ROUNDING)[member]], best


def surface_within(
    faces: FaceFiles,
    class_of: np.ndarray,
    classes: Sequence[int],
    distance_nm: float,
    progress: Progress | None = None,
    cancel: Cancel | None = None,
) -> np.ndarray:
    """The part of each object's outer surface within a distance of each other class.

    Args:
        faces: of all objects.
        class_of: class of each place in the table, from 1 on.
        classes: ids, in the order of the result.
        distance_nm: above 0.
        progress: called with blocks done and in all.
        cancel: asked between blocks.

    Returns:
        (N, classes, 3) int64 sums of shares, by the axis of the faces.

    Raises:
        CancelledError: if so asked.
    """
    found = np.zeros((len(class_of) - 1, len(classes), 3), np.int64)
    todo = [(block, own) for own in classes for block in faces.boxes.get(own, {})]
    slack = PROTRUSION * faces.edge_nm
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
    box: Box,
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
