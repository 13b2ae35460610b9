"""Leave out small profiles: connected areas of one class in a section, measured across the borders of blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import product

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from scsam_monai.inference.blocks import Block, BlockPlan
from scsam_monai.io.ome_zarr_volume import LabelVolume
from scsam_monai.progress import Progress

IN_PLANE = np.zeros((3, 3, 3), bool)
IN_PLANE[1] = ndimage.generate_binary_structure(2, 1)
"""Pixels of a section that share an edge belong together; sections are looked at one by one."""


def remove_small(
    labels: LabelVolume,
    plan: BlockPlan,
    smallest_pixels: Sequence[float],
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
) -> bool:
    """Turn profiles below a size into background, in level 0 of a label volume.

    Two blocks at most are in memory. Done once more it changes nothing, so that a killed run may start it again.

    Args:
        labels: level 0 is finished; other levels are not touched.
        plan: blocks of whole chunks.
        smallest_pixels: for each class id, the area below which a profile goes; 0 keeps all.
        progress: called with the blocks done and in all.
        cancel: asked between blocks; True ends the work.

    Returns:
        whether it is done.
    """
    classes = [index for index, area in enumerate(smallest_pixels) if index and area > 0]
    for done, layer in enumerate(_layers(plan)):
        small = _small(labels, layer, classes, smallest_pixels, cancel)
        if small is None:
            return False
        for place, block in layer.items():
            if cancel is not None and cancel():
                return False
            values = labels.read(block)
            gone = np.zeros(values.shape, bool)
            for index in classes:
                gone |= small[index][place][_profiles(values, index)[0]]
            if gone.any():
                labels.write(block, np.where(gone, 0, values).astype(np.uint8))
        if progress is not None:
            progress((done + 1) * len(layer), len(plan))
    return True


def _layers(plan: BlockPlan) -> Iterator[dict[tuple[int, int], Block]]:
    """Yield the blocks of each range of sections, by their place (y, x)."""
    blocks = [plan[number] for number in range(len(plan))]
    starts = [sorted({block[axis][0] for block in blocks}) for axis in range(3)]
    at = {tuple(bounds[0] for bounds in block): block for block in blocks}
    for z in starts[0]:
        yield {
            (row, column): at[z, y, x]
            for (row, y), (column, x) in product(enumerate(starts[1]), enumerate(starts[2]))
        }


def _small(
    labels: LabelVolume,
    layer: dict[tuple[int, int], Block],
    classes: Sequence[int],
    smallest: Sequence[float],
    cancel: Callable[[], bool] | None,
) -> dict[int, dict[tuple[int, int], np.ndarray]] | None:
    """Return for each class and block which of its profiles are too small in all; None if it was cancelled."""
    sizes: dict[int, list[np.ndarray]] = {index: [] for index in classes}
    starts: dict[int, dict[tuple[int, int], int]] = {index: {} for index in classes}
    totals = dict.fromkeys(classes, 0)
    joined: dict[int, list[np.ndarray]] = {index: [] for index in classes}
    below: dict[tuple[int, int, int], np.ndarray] = {}
    right: dict[tuple[int, int, int], np.ndarray] = {}
    for (row, column), block in layer.items():
        if cancel is not None and cancel():
            return None
        values = labels.read(block)
        for index in classes:
            profiles, count = _profiles(values, index)
            start = totals[index]
            starts[index][row, column] = start
            sizes[index].append(np.bincount(profiles.reshape(-1), minlength=count + 1)[1:])
            totals[index] += count
            numbered = np.where(profiles > 0, profiles + start, 0)
            above = below.pop((index, row - 1, column), None)
            left = right.pop((index, row, column - 1), None)
            for edge, other in ((numbered[:, 0], above), (numbered[:, :, 0], left)):
                if other is not None:
                    both = (edge > 0) & (other > 0)
                    joined[index].append(np.stack([edge[both], other[both]]))
            below[index, row, column] = numbered[:, -1].copy()
            right[index, row, column] = numbered[:, :, -1].copy()
    found: dict[int, dict[tuple[int, int], np.ndarray]] = {}
    for index in classes:
        areas = np.concatenate(sizes[index])
        pairs = np.concatenate(joined[index], axis=1) - 1 if joined[index] else np.zeros((2, 0), int)
        graph = coo_array((np.ones(pairs.shape[1], bool), tuple(pairs)), shape=(totals[index],) * 2)
        group = connected_components(graph, directed=False)[1] if totals[index] else np.zeros(0, int)
        small = (
            np.bincount(group, weights=areas)[group] < smallest[index] if totals[index] else np.zeros(0, bool)
        )
        ends = [*list(starts[index].values())[1:], totals[index]]
        found[index] = {
            place: np.concatenate([[False], small[start:end]])
            for (place, start), end in zip(starts[index].items(), ends, strict=True)
        }
    return found


def _profiles(values: np.ndarray, index: int) -> tuple[np.ndarray, int]:
    profiles, count = ndimage.label(values == index, structure=IN_PLANE)
    return profiles, int(count)
