from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
from solids import ellipsoid

from scsam_monai.io import LabelLegend, LabelVolume, create_labels
from scsam_monai.io.palette import class_colours
from scsam_monai.measure import find_objects, measure_labels

BLOCK = (32, 64, 64)


def peak_and_volumes(folder: Path, depth: int) -> tuple[int, list[float]]:
    """Peak memory in bytes of finding and measuring, and the volumes found."""
    mask, *_ = ellipsoid((100, 100, 100), (10, 10, 10))
    path, shape = folder / f"{depth}.ome.zarr", (depth, 128, 128)
    legend = LabelLegend(("background", "granule"), class_colours(2))
    create_labels(path, shape, (10, 10, 10), legend, chunk=BLOCK)
    labels = np.zeros(shape, np.uint8)
    for corner in ((10, 20, 20), (10, 70, 60), (30, 40, 90)):  # over the blocks' faces
        where = tuple(slice(at, at + n) for at, n in zip(corner, mask.shape, strict=True))
        labels[where] |= mask[: depth - corner[0], : 128 - corner[1], : 128 - corner[2]]
    LabelVolume(path).write([(0, n) for n in shape], labels)
    ids = folder / f"{depth}_ids.ome.zarr"
    tracemalloc.start()
    find_objects(path, ids, block=BLOCK, split="distance")
    measured = measure_labels(path, objects=ids, block=BLOCK, scratch_folder=folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak, [row["volume_nm3"] for row in measured.objects]


def test_memory_follows_from_the_block_not_from_the_volume(tmp_path: Path) -> None:
    peak_and_volumes(tmp_path, 64)  # imports and caches
    for old in tmp_path.iterdir():
        old.rename(old.with_name(f"first_{old.name}"))
    small, volumes = peak_and_volumes(tmp_path, 64)
    large, same_volumes = peak_and_volumes(tmp_path, 256)
    assert volumes == same_volumes
    assert len(volumes) == 3
    assert large < 1.3 * small
