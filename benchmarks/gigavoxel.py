"""Time and memory of ``scsam objects`` and ``scsam measure`` on a large drawn label volume.

    python benchmarks/gigavoxel.py FOLDER --edge 1024

draws a gigavoxel of balls and ellipsoids into FOLDER, numbers and measures them, and prints seconds and memory.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from scsam_monai.io import LabelLegend, LabelVolume, create_labels
from scsam_monai.io.palette import class_colours

NAMES = ("background", "granule", "mitochondrion", "nucleus")
VOXEL_NM = (8.0, 8.0, 8.0)
SLAB = 32


def solids(edge: int, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray, int]]:
    """Centre and radii (z, y, x) in voxels and class of each: 12,000 granules in a gigavoxel."""
    share = (edge / 1024) ** 3
    for _ in range(round(12000 * share)):
        yield rng.uniform(0, edge, 3), np.full(3, rng.uniform(8, 16)), 1
    for _ in range(round(1200 * share)):
        yield rng.uniform(0, edge, 3), rng.uniform(20, 50, 3), 2
    yield rng.uniform(0.3 * edge, 0.7 * edge, 3), np.full(3, 0.2 * edge), 3


def draw(path: Path, edge: int) -> None:
    create_labels(path, (edge, edge, edge), VOXEL_NM, LabelLegend(NAMES, class_colours(len(NAMES))))
    volume, drawn = LabelVolume(path), list(solids(edge, np.random.default_rng(1)))
    for start in range(0, edge, SLAB):
        stop = min(start + SLAB, edge)
        slab = np.zeros((stop - start, edge, edge), np.uint8)
        for centre, radii, class_id in drawn:
            low = np.maximum(np.floor(centre - radii), [start, 0, 0]).astype(int)
            high = np.minimum(np.ceil(centre + radii) + 1, [stop, edge, edge]).astype(int)
            if (low < high).all():
                _paint(slab, start, low, high, centre, radii, class_id)
        volume.write(((start, stop), (0, edge), (0, edge)), slab)


def _paint(
    slab: np.ndarray,
    start: int,
    low: np.ndarray,
    high: np.ndarray,
    centre: np.ndarray,
    radii: np.ndarray,
    class_id: int,
) -> None:
    z, y, x = np.ogrid[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    scaled = [(along - at) / reach for along, at, reach in zip((z, y, x), centre, radii, strict=True)]
    inside = scaled[0] ** 2 + scaled[1] ** 2 + scaled[2] ** 2 <= 1
    part = slab[low[0] - start : high[0] - start, low[1] : high[1], low[2] : high[2]]
    part[np.broadcast_to(inside, part.shape)] = class_id


def run(*words: str | Path) -> None:
    started = time.monotonic()
    code = "from scsam_monai.cli import app; app(prog_name='scsam')"
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = used.ru_utime + used.ru_stime
    print(
        f"{words[0]}: {time.monotonic() - started:.0f} s, of the processor {seconds:.0f} s so far, "
        f"peak memory {used.ru_maxrss / 1024:.0f} MiB so far",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--edge", type=int, default=1024, help="voxels along each axis")
    options = parser.parse_args()
    labels, ids = options.folder / "labels.ome.zarr", options.folder / "objects.ome.zarr"
    if not labels.exists():
        draw(labels, options.edge)
    run("objects", labels, ids, "--split", "distance", "--min-size-nm", "1e5")
    run("measure", labels, options.folder / "figures", "--objects", ids, "--contact-nm", "0,40")


if __name__ == "__main__":
    main()
