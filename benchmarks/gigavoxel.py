"""Time and memory of ``scsam objects`` and ``scsam measure`` on a large drawn label volume.

    python benchmarks/gigavoxel.py FOLDER --edge 1024 | python benchmarks/tables.py --take gigavoxel

draws a gigavoxel of balls and ellipsoids into FOLDER, numbers and measures them, and prints minutes and memory as a
table. A volume of a quarter of the edge is then worked on block by block and in one block; ids and tables have to
be the same. It ends with an error where they are not, or where a command took more than 1.5 GB.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measuring import markdown

from scsam_monai.io import LabelLegend, LabelVolume, create_labels
from scsam_monai.io.palette import class_colours
from scsam_monai.measure import find_objects, measure_labels

NAMES = ("background", "granule", "mitochondrion", "nucleus")
VOXEL_NM = (8.0, 8.0, 8.0)
SLAB = 32
LIMIT_MIB = 1.5e9 / 2**20
SPLIT_BY = "distance"
MINIMUM_NM3 = 1e5
CONTACTS_NM = (0.0, 40.0)

COMMAND = """
import atexit, resource, sys
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    # Not ru_maxrss, in which the process that started this one counts, too.
    lines = open("/proc/self/status").read().splitlines()
    most = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    print("used", used.ru_utime + used.ru_stime, most, file=sys.stderr)
atexit.register(tell)
from scsam_monai.cli import app
app(prog_name="scsam")
"""


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


def run(*words: str | Path) -> list[str]:
    """Return the row of a command: its name, minutes, CPU minutes and highest memory in MiB.

    Raises:
        RuntimeError: it failed.
    """
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, *map(str, words)], capture_output=True, text=True, check=False
    )
    sys.stderr.write(done.stdout)
    if done.returncode:
        raise RuntimeError(done.stderr)
    _, seconds, kib = done.stderr.splitlines()[-1].split()
    minutes = (time.monotonic() - started) / 60
    return [f"`scsam {words[0]}`", f"{minutes:.1f}", f"{float(seconds) / 60:.1f}", f"{int(kib) / 1024:.0f}"]


def same_in_one_block(labels: Path, edge: int, folder: Path) -> bool:
    """Whether ids, tables and figures of a volume are the same in blocks and in one block, to the last bit."""
    whole, small = (edge, edge, edge), (edge // 4, edge // 3, edge // 2)
    by_blocks, at_once = (
        find_objects(labels, block=block, split=SPLIT_BY, minimum_nm=MINIMUM_NM3) for block in (small, whole)
    )
    tables = [
        measure_labels(labels, objects=found.ids, contact_nm=CONTACTS_NM, block=block, scratch_folder=folder)
        for found, block in ((by_blocks, small), (at_once, whole))
    ]
    same_ids = np.array_equal(np.asarray(by_blocks.ids), np.asarray(at_once.ids))
    return same_ids and all(
        repr(getattr(tables[0], part)) == repr(getattr(tables[1], part))
        for part in ("objects", "classes", "contacts")
    )


def commands(labels: Path, folder: Path) -> Iterator[list[str]]:
    """Yield the row of each command."""
    ids, contacts = folder / "objects.ome.zarr", ",".join(f"{distance:g}" for distance in CONTACTS_NM)
    yield run("objects", labels, ids, "--split", SPLIT_BY, "--min-size-nm", str(MINIMUM_NM3))
    yield run("measure", labels, folder / "figures", "--objects", ids, "--contact-nm", contacts)


def drawn(folder: Path, edge: int) -> Path:
    """Return the labels of that edge, drawn if they are not there."""
    labels = folder / f"labels_{edge}.ome.zarr"
    if not labels.exists():
        draw(labels, edge)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="new; for volumes and tables")
    parser.add_argument("--edge", type=int, default=1024, help="voxels along each axis")
    options = parser.parse_args()
    folder, edge, rows = options.folder, options.edge, []
    folder.mkdir(parents=True, exist_ok=True)
    header = ["command", "minutes", "CPU minutes", "MiB"]
    for row in commands(drawn(folder, edge), folder):
        rows.append(row)
    print("\n".join(markdown(header, iter(rows))), flush=True)
    small = edge // 4
    same = same_in_one_block(drawn(folder, small), small, folder)
    print(f"\n{small}³ voxels in 24 blocks and in one block: {'identical' if same else 'NOT identical'}")
    if not same or max(float(row[-1]) for row in rows) > LIMIT_MIB:
        sys.exit("the aim was missed: the same in one block, and 1.5 GB at most")


if __name__ == "__main__":
    main()
