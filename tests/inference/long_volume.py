"""Stream a volume from disk to disk, and print by how many MiB the process grew at its highest."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.inference.job import Job, Source
from scsam_monai.inference.products import Product
from scsam_monai.inference.store import Store
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io import open_volume
from scsam_monai.report.palette import class_colours

K = 3
NM = (16.0, 16.0, 16.0)
WEIGHT = torch.randn(K, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def network(windows: Tensor) -> Tensor:
    return F.conv2d(windows, WEIGHT, padding="same")


def stream(path: Path) -> None:
    """All of a job but its network: reading, blending, writing, the pyramid."""
    with open_volume(path) as volume:
        source = Source(str(path), None, volume.shape, str(volume.dtype), "")
        windows, wanted = Windows(256), (Product.LABELS, Product.PROBABILITIES)
        # Four blocks at least: two are at work at a time, and a chunk of the pyramid is made from two along z.
        block = (4, *volume.shape[1:])
        job = Job(
            source, str(path.with_suffix(".ome.zarr")), "", "", ("background", "a", "b"), NM, (1.0, 1.0, 1.0),
            (0.0, 255.0), tuple((0, size) for size in volume.shape), 0.0, 0, windows, wanted, block, block,
            "0.5", 1,
        )  # fmt: skip
        store = Store(job)
        store.create(class_colours(K))
        predictors = windows.predictors(network, volume.shape, job.factors, job.intensity, "cpu")
        for _ in Stream(volume, predictors, job.plan, store, wanted).run(range(len(job.plan))):
            pass
        store.finish()


def status_mib(key: str) -> float:
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    warm, path = map(Path, sys.argv[1:])
    stream(warm)  # libraries are loaded at their first use
    Path("/proc/self/clear_refs").write_text("5")
    before = status_mib("VmRSS")
    stream(path)
    print(status_mib("VmHWM") - before)
