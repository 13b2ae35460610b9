"""The volume engine against MONAI's inferers, from disk to disk, side by side in one run.

    python benchmarks/volume_engine.py host memory labels disk
    python benchmarks/volume_engine.py growth

``host``    CPU time beside the network, per megapixel of section, with MONAI's SliceInferer and
            SlidingWindowInferer over the same volume; all read the same file, and write the same format.
``memory``  how much each grows in a fresh process, with the number of sections.
``labels``  where ours and MONAI's differ, and by how much the two best logits differ there.
``disk``    wall time of a whole job from disk to disk, over that of a stand-in network which only waits, as for a
            GPU.
``growth``  peak memory of a whole job over 64, 256 and 1024 sections of 1024 x 1024.

The network is a stand-in, one 3 x 3 convolution to four classes: what is measured is everything else.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import in_fresh_process, machine, markdown, peak_growth_mib
from monai.inferers import Inferer, SliceInferer, SlidingWindowInferer
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.inference.blocks import Block, BlockPlan, chunk_shape
from scsam_monai.inference.products import Product
from scsam_monai.inference.sizing import divide
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io import (
    LabelLegend,
    LabelVolume,
    build_pyramid,
    create_labels,
    intensity_range_of,
    normalise,
    open_volume,
    write_block,
)
from scsam_monai.report.palette import class_colours

K = 4
EDGE = 1024
VOXEL_NM = (16.0, 16.0, 16.0)
WINDOW, OVERLAP = 512, 0.5
WAIT_S = 3e-3
PATHS = ("ours", "SliceInferer", "SlidingWindowInferer")


class StandIn:
    """One convolution, which keeps the time it takes."""

    def __init__(self) -> None:
        self.weight = torch.randn(K, 1, 3, 3, generator=torch.Generator().manual_seed(0))
        self.seconds = 0.0

    def __call__(self, windows: Tensor) -> Tensor:
        """Return logits (B, K', H, W)."""
        start = time.thread_time()
        logits = F.conv2d(windows, self.weight, padding="same")
        self.seconds += time.thread_time() - start
        return logits


class Waiting:
    """Takes 3 ms a window without using the CPU, as a GPU would; the answer is always the same smooth patches."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.answers: dict[int, Tensor] = {}

    def __call__(self, windows: Tensor) -> Tensor:
        """Return the same logits (B, K', H, W) each time."""
        start = time.perf_counter()
        time.sleep(WAIT_S * len(windows))
        self.seconds += time.perf_counter() - start
        if len(windows) not in self.answers:
            coarse = torch.randn(len(windows), K, 16, 16, generator=torch.Generator().manual_seed(0))
            self.answers[len(windows)] = F.interpolate(coarse, windows.shape[2:], mode="bicubic")
        return self.answers[len(windows)]


class ZarrSink:
    """Writes labels as OME-Zarr, as a job does."""

    def __init__(self, path: Path, shape: tuple[int, int, int], pyramid: bool = False) -> None:
        create_labels(path, shape, VOXEL_NM, legend(), chunk=chunk_shape(shape, 1))
        self.volume, self.pyramid = LabelVolume(path), pyramid

    def write(self, block: Block, products: dict[Product, np.ndarray]) -> None:
        """Write a block."""
        if self.pyramid:
            write_block(self.volume, block, products[Product.LABELS])
        else:
            self.volume.write(block, products[Product.LABELS])


def ours(
    source: Path,
    target: Path,
    network: Callable[[Tensor], Tensor],
    window: int = WINDOW,
    overlap: float = OVERLAP,
    pyramid: bool = False,
) -> None:
    """Stream blocks from disk to disk, with a pyramid or without."""
    with open_volume(source) as volume:
        windows = Windows(window, overlap, batch=4)
        predictors = windows.predictors(network, volume.shape, (1.0, 1.0, 1.0), (0.0, 255.0), "cpu")
        _, block = divide(volume.shape, volume.dtype, K, windows, (1.0, 1.0, 1.0), [Product.LABELS], 4e9)
        plan = BlockPlan(volume.shape, block)
        stream = Stream(volume, predictors, plan, ZarrSink(target, volume.shape, pyramid), [Product.LABELS])
        for _ in stream.run(range(len(plan))):
            pass
    if pyramid:
        build_pyramid(target, block=block)


def whole_job(source: Path, target: Path, network: Callable[[Tensor], Tensor], **options: Any) -> None:
    """Sample grey values, stream blocks, build the pyramid."""
    with open_volume(source) as volume:
        intensity_range_of(volume)
    ours(source, target, network, pyramid=True, **options)


def monai(source: Path, target: Path, network: Callable[[Tensor], Tensor], inferer: Inferer) -> None:
    """Load a volume, infer it whole, take the argmax, write it."""
    with open_volume(source) as volume, torch.inference_mode():
        depth, height, width = volume.shape
        box = ((0, depth), (0, height), (0, width))
        grey = torch.from_numpy(normalise(volume.read(box), 0.0, 255.0))
        if isinstance(inferer, SliceInferer):
            logits = inferer(grey[None, None], network)[0]
        else:
            logits = inferer(grey[None, None], lambda part: network(part[:, :, 0]).unsqueeze(2))[0]
        labels = logits.argmax(dim=0).to(torch.uint8)
        ZarrSink(target, volume.shape).write(box, {Product.LABELS: labels.numpy()})


def run(path: str, source: Path, target: Path, network: Callable[[Tensor], Tensor]) -> None:
    """Segment ``source`` by one of :data:`PATHS`, or as a whole job."""
    shared: dict[str, Any] = {
        "sw_batch_size": 4,
        "overlap": OVERLAP,
        "mode": "gaussian",
        "padding_mode": "replicate",
    }
    if path == "job":
        whole_job(source, target, network)
    elif path == "ours":
        ours(source, target, network)
    elif path == "SliceInferer":
        monai(source, target, network, SliceInferer(roi_size=(WINDOW, WINDOW), spatial_dim=0, **shared))
    else:
        shared["overlap"] = (0.0, OVERLAP, OVERLAP)
        monai(source, target, network, SlidingWindowInferer(roi_size=(1, WINDOW, WINDOW), **shared))


def host(rounds: int) -> Iterator[str]:
    """CPU time beside the network."""
    sections = 16
    times: dict[str, list[float]] = {path: [] for path in PATHS}
    with tempfile.TemporaryDirectory() as folder:
        source = sample(Path(folder), sections)
        for turn in range(rounds + 1):
            for path in PATHS:
                network = StandIn()
                start = time.process_time()
                run(path, source, Path(folder) / f"{path}{turn}.ome.zarr", network)
                if turn:  # the first one warms up
                    times[path].append(time.process_time() - start - network.seconds)
    medians = {path: statistics.median(values) for path, values in times.items()}
    per_mpx = {path: seconds / (sections * EDGE * EDGE / 2**20) for path, seconds in medians.items()}
    rows = ([path, f"{1e3 * per_mpx[path]:.0f}", f"{per_mpx['ours'] / per_mpx[path]:.2f}"] for path in PATHS)
    yield from markdown(["path", "host CPU ms per Mpx section", "ours over it"], rows)


def memory() -> Iterator[str]:
    """Peak growth in fresh processes."""
    sizes = (8, 16, 32)
    rows = (
        [path, *(f"{in_fresh_process(__file__, 'one', path, str(size)):.0f}" for size in sizes)]
        for path in PATHS
    )
    yield from markdown(["path", *(f"MiB at {size} sections" for size in sizes)], rows)


def labels() -> Iterator[str]:
    """Compare with MONAI's labels and logits."""
    sections = 8
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        source = sample(Path(folder), sections)
        found = {}
        for path in PATHS:
            run(path, source, Path(folder) / f"{path}.ome.zarr", StandIn())
            written = LabelVolume(Path(folder) / f"{path}.ome.zarr")
            found[path] = written.read([(0, size) for size in written.shape])
        grey = torch.from_numpy(normalise(np.load(source), 0.0, 255.0))[:, None]
        inferer = SlidingWindowInferer((WINDOW, WINDOW), 4, OVERLAP, mode="gaussian")
        logits = [torch.as_tensor(inferer(section[None], StandIn())) for section in grey]
        best = torch.cat(logits).topk(2, dim=1).values
    gap = (best[:, 0] - best[:, 1]).numpy()
    rows = (
        [path, str(int(apart.sum())), f"{gap[apart].max() if apart.any() else 0:.1e}"]
        for path in PATHS[1:]
        for apart in [found["ours"] != found[path]]
    )
    yield from markdown(
        ["ours against", f"labels that differ, of {gap.size}", "largest gap of logits there"], rows
    )


def disk(rounds: int) -> Iterator[str]:
    """Wall time over the network's: of two blocks, whose beginning and end count, and of eight."""
    names = ["volume", "disk to disk s", "over the network's time", "Mvoxel/s"]
    yield from markdown(names, (disk_row(sections, rounds) for sections in (64, 256)))


def disk_row(sections: int, rounds: int) -> list[str]:
    """Medians of whole jobs over a volume."""
    ratios, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = sample(Path(folder), sections)
        for turn in range(rounds):
            network = Waiting()
            start = time.perf_counter()
            whole_job(source, Path(folder) / f"{turn}.ome.zarr", network, window=256, overlap=0.25)
            seconds.append(time.perf_counter() - start)
            ratios.append(seconds[-1] / network.seconds)
    wall = statistics.median(seconds)
    speed = sections * EDGE * EDGE / wall / 1e6
    return [
        f"{sections} x {EDGE} x {EDGE}",
        f"{wall:.2f}",
        f"{statistics.median(ratios):.2f}",
        f"{speed:.1f}",
    ]


def growth() -> Iterator[str]:
    """Peak memory of long volumes."""
    sizes = (64, 256, 1024)
    met = [in_fresh_process(__file__, "one", "job", str(size)) for size in sizes]
    rows = ([str(size), f"{mib:.0f}", f"{mib / met[0]:.3f}"] for size, mib in zip(sizes, met, strict=True))
    yield from markdown([f"sections of {EDGE} x {EDGE}", "MiB", "over the first"], rows)


def one(path: str, sections: int) -> float:
    """Peak growth of this process in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        source = sample(Path(folder), sections)
        run(path, sample(Path(folder), 2, "warm.npy"), Path(folder) / "warm.ome.zarr", StandIn())
        return peak_growth_mib(lambda: run(path, source, Path(folder) / "labels.ome.zarr", StandIn()))


def sample(folder: Path, sections: int, name: str = "volume.npy") -> Path:
    """Write blurred noise, a section at a time: the first two, taken in turns."""
    generator = np.random.default_rng(0)
    pair = []
    for _ in range(2):
        coarse = torch.from_numpy(generator.random((1, 1, EDGE // 16, EDGE // 16), dtype=np.float32))
        fine = F.interpolate(coarse, (EDGE, EDGE), mode="bicubic")[0, 0].numpy()
        noisy = fine + 0.1 * generator.standard_normal((EDGE, EDGE), dtype=np.float32)
        pair.append((255 * np.clip(noisy, 0, 1)).astype(np.uint8))
    volume = np.lib.format.open_memmap(folder / name, "w+", np.uint8, (sections, EDGE, EDGE))
    for z in range(sections):
        volume[z] = pair[z % 2]
    volume.flush()
    return folder / name


def legend() -> LabelLegend:
    """Names and colours of the stand-in's classes."""
    return LabelLegend(("background", *(f"class {index}" for index in range(1, K))), class_colours(K))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tables", nargs="*", default=["host", "memory", "labels", "disk", "growth"])
    parser.add_argument("--rounds", type=int, default=5)
    words = sys.argv[1:] if arguments is None else list(arguments)
    torch.set_num_threads(1)
    if words[:1] == ["one"]:  # a fresh process of this benchmark
        print(one(words[1], int(words[2])))
        return
    options = parser.parse_args(words)
    tables: dict[str, Callable[[], Iterator[str]]] = {
        "host": lambda: host(options.rounds),
        "memory": memory,
        "labels": labels,
        "disk": lambda: disk(options.rounds),
        "growth": growth,
    }
    print(f"{machine()}; window {WINDOW}, overlap {OVERLAP}, {K} classes\n")
    for name in options.tables:
        print(f"{name}\n")
        for line in tables[name]():
            print(line, flush=True)
        print()


if __name__ == "__main__":
    main()
