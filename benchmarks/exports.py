"""Exported networks beside PyTorch on one thread: do labels agree, how long does each take, how large is it?

python benchmarks/exports.py vnc/stack1_raw_z00-16.tif --section 14 --nm 4.6

Prints seconds and size of each export, and labels and seconds of a section through each network.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tifffile
import torch

from scsam_monai.export import export_bioimageio, export_onnx, export_torchscript
from scsam_monai.export.description import in_single_precision
from scsam_monai.export.onnx_file import runner
from scsam_monai.inference.model import Model, open_model
from scsam_monai.inference.segment import segment
from scsam_monai.report.palette import class_colours

SHIPPED = Path(__file__).resolve().parents[1] / "bundle" / "models" / "model.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("stack", type=Path)
    parser.add_argument("--section", type=int, default=0)
    parser.add_argument("--nm", type=float, default=16.0, help="edge of a pixel")
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = in_single_precision(open_model(options.model, "cpu"))  # as the exported files are
    section = tifffile.imread(options.stack, key=options.section)
    with tempfile.TemporaryDirectory() as folder:
        networks = export(model, Path(folder))
        print("| network | labels as PyTorch's | CPU seconds of a section |\n|---|---:|---:|")
        expected, seconds = timed(model, model.network, section, options.nm, options.repeats)
        print(f"| PyTorch | | {seconds:.2f} |")
        for name, network in networks.items():
            labels, seconds = timed(model, network, section, options.nm, options.repeats)
            print(f"| {name} | {(labels == expected).mean():.5%} | {seconds:.2f} |", flush=True)


def export(model: Model, folder: Path) -> dict[str, Callable[[Any], Any]]:
    """Write every format and return what can take the network's place."""
    colours = class_colours(len(model.class_names))
    print("| export | CPU seconds | MB |\n|---|---:|---:|")
    for name, write in (
        ("scsam.ts", lambda path: export_torchscript(model, path)),
        ("scsam.onnx", lambda path: export_onnx(model, path)),
        (
            "scsam.zip",
            lambda path: export_bioimageio(model, path, colours, licence="Apache-2.0", authors=["benchmark"]),
        ),
    ):
        start = time.process_time()
        size = write(folder / name).stat().st_size
        print(f"| {name} | {time.process_time() - start:.0f} | {size / 1e6:.0f} |", flush=True)
    print()
    script = torch.jit.load(str(folder / "scsam.ts"))
    return {"TorchScript": script, "ONNX Runtime": runner(folder / "scsam.onnx", threads=1)}


def timed(
    model: Model, network: Callable[[Any], Any], section: np.ndarray, nm: float, repeats: int
) -> tuple[np.ndarray, float]:
    """Segment with the engine of ``scsam predict``; the fastest of some repeats, in seconds of the processor."""
    other: Any = network
    taken = []
    for _ in range(repeats):
        start = time.process_time()
        labels = segment(section, replace(model, network=other), (nm, nm)).labels
        taken.append(time.process_time() - start)
    return labels, min(taken)


if __name__ == "__main__":
    main()
