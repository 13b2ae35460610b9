"""The parts of ``check.py`` that are whole jobs: tests, volumes from disk to disk, the main job."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from encoder_speed import wall_median
from encoders import Row, device_of, graph_seconds, half
from monai.inferers import SliceInferer
from torch import Tensor

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.cli import app
from scsam_monai.data.synthetic import write_sample_dataset
from scsam_monai.inference import predictor as predictor_module
from scsam_monai.inference.model import open_model

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "bundle" / "models" / "model.pt"
WINDOW, OVERLAP = 256, 0.25
TESTS = ("tests/networks",)


def tests(rehearse: bool) -> Iterator[Row]:
    """The tests that need a GPU; without one they are collected and skipped."""
    places = ["tests/networks/test_attention.py"] if rehearse else TESTS
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "cuda", *places]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout, done.stderr, flush=True)
    lines = done.stdout.strip().splitlines()
    for line in lines:
        if line.startswith(("FAILED", "ERROR")):
            yield {"result": line[:300]}
    yield {"result": lines[-1] if lines else f"exit status {done.returncode}"}
    if done.returncode:
        raise SystemExit(f"pytest: exit status {done.returncode}")


def predict(rehearse: bool) -> Iterator[Row]:
    """``scsam predict`` from disk to disk beside the time of the network alone; memory of few and many sections."""
    device, side, batch = (device_of(rehearse), 288, 4) if rehearse else (device_of(rehearse), 2048, 32)
    eager, graph = alone_seconds(device, batch, 1 if rehearse else 6)
    with tempfile.TemporaryDirectory() as folder:
        for n_sections in (1, 2) if rehearse else (16, 64):
            source, output = Path(folder) / f"{n_sections}.tif", Path(folder) / f"{n_sections}.ome.zarr"
            tifffile.imwrite(source, micrographs(n_sections, side))
            with counted() as calls:
                if device == "cuda":
                    torch.cuda.empty_cache()
                    torch.cuda.reset_peak_memory_stats()
                start = time.perf_counter()
                options = [str(source), str(output), "--voxel-size-nm", "16,16,16", "--device", device]
                options += ["--batch", str(batch), "--memory-gb", "1" if rehearse else "16"]
                app(["predict", *options], standalone_mode=False)
                seconds = time.perf_counter() - start
            peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
            alone = graph * calls.number
            yield {
                "voxels": f"{n_sections} x {side} x {side}",
                "disk to disk s": f"{seconds:.2f}",
                "network alone s": f"{alone:.2f}",
                "ratio": f"{seconds / alone:.2f}",
                "Mvoxel/s": f"{n_sections * side**2 / seconds / 1e6:.2f}",
                "passes": calls.number,
                "windows a pass": batch,
                "ms a pass, eager": f"{eager * 1e3:.2f}",
                "ms a pass, graph": f"{graph * 1e3:.2f}",
                "graphs": calls.graphs,
                "peak GPU GiB": f"{peak:.2f}",
            }


@torch.no_grad()
def alone_seconds(device: str, batch: int, rounds: int) -> tuple[float, float]:
    """Seconds of the network that comes along, for a batch of windows; kernel by kernel, and as a graph."""
    network = open_model(MODEL, device).network
    windows = torch.rand(batch, 1, WINDOW, WINDOW, device=device)
    eager = wall_median(partial(network, windows), rounds, device)
    return eager, graph_seconds(network, windows, rounds, device) if device == "cuda" else eager


class counted:  # noqa: N801
    """Counts the passes of networks over windows, and the graphs they end in."""

    def __enter__(self) -> counted:
        self.number = self.graphs = 0
        self.kept = predictor_module.SectionPredictor._logits
        counter, kept = self, self.kept

        def logits(predictor: predictor_module.SectionPredictor, windows: Tensor) -> Tensor:
            counter.number += 1
            counter.graphs = getattr(predictor.network, "recorded", 0)
            return kept(predictor, windows)

        setattr(predictor_module.SectionPredictor, "_logits", logits)  # noqa: B010
        return self

    def __exit__(self, *_: Any) -> None:
        setattr(predictor_module.SectionPredictor, "_logits", self.kept)  # noqa: B010


def micrographs(n_sections: int, side: int) -> np.ndarray:
    """Noise with some shape to it, uint8 (z, y, x)."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (n_sections, side // 16, side // 16), dtype=np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2) + rng.integers(0, 60, (n_sections, side, side), dtype=np.uint8)


def peer(rehearse: bool) -> Iterator[Row]:
    """MONAI's SliceInferer with a U-Net of nnU-Net's shape, from a TIFF to a TIFF of labels, in one piece."""
    device, side, n, batch = ("cpu", 288, 1, 2) if rehearse else ("cuda", 2048, 16, 32)
    torch.manual_seed(0)
    network = DynUNet2d(8, **({"n_stages": 4, "base_filters": 8} if rehearse else {})).eval().to(device)
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        source = Path(folder) / "source.tif"
        tifffile.imwrite(source, micrographs(n, side))
        for turn in ("first", "second"):
            start = time.perf_counter()
            image = torch.as_tensor(tifffile.imread(source)).to(device)[None, None].float() / 255
            inferer = SliceInferer(
                roi_size=(WINDOW, WINDOW),
                spatial_dim=0,
                sw_batch_size=batch,
                overlap=OVERLAP,
                mode="gaussian",
            )
            with half(image):
                logits = inferer(image, network)
            assert isinstance(logits, Tensor)
            labels = logits.argmax(1)[0].byte().cpu().numpy()
            tifffile.imwrite(Path(folder) / "labels.tif", labels)
            seconds = time.perf_counter() - start
            peak = torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0
            yield {
                "run": turn,
                "voxels": f"{n} x {side} x {side}",
                "disk to disk s": f"{seconds:.2f}",
                "Mvoxel/s": f"{n * side**2 / seconds / 1e6:.2f}",
                "peak GPU GiB": f"{peak:.2f}",
            }


def main_job(rehearse: bool) -> Iterator[Row]:
    """Generate the sample data, train the small preset and score it: what was reached after how many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "monai.bundle", "run", "training"]
        command += ["--config_file", "bundle/configs/train.json", "--run_dir", f"{folder}/run"]
        command += ["--sample_dir", f"{folder}/data", "--cache_dir", f"{folder}/cache"]
        if rehearse:
            write_sample_dataset(f"{folder}/small", shape=(8, 96, 96))
            command += ["--dataset_dir", f"{folder}/small"]
            command += ["--epochs", "1", "--val_interval", "1", "--crops_per_epoch", "2", "--pool_size", "2"]
            command += ["--prototype_crops", "1", "--crop_size", "64"]
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            if re.search(r"data set /|prototypes start|epoch \d+/|mean IoU|mean_iou", line):
                yield {"s": f"{time.perf_counter() - start:.1f}", "reached": line.strip()[:200]}
        code = process.wait()
        yield {"s": f"{time.perf_counter() - start:.1f}", "reached": f"exit status {code}"}
        for record in Path(folder).glob("run/model.json"):
            metric = json.loads(record.read_text()).get("metric")
            yield {"s": f"{time.perf_counter() - start:.1f}", "reached": f"score {metric}"}
    if code:
        raise SystemExit(f"main job: exit status {code}")
