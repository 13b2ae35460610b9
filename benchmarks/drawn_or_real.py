"""Tell drawn tissue from real by a linear classifier on frozen features: how near does the generator come?

    python benchmarks/drawn_or_real.py REAL.tif --tissue neuropil --modality sstem --pixel-nm 4.6 \
        --weights efficientnet_lite0.safetensors

Crops of both, brought to one mean and contrast, go through a frozen network; means and spreads of its maps are
told apart by logistic regression. No volume, and no quarter of a real stack, is both learned from and asked about.
A generator that cannot be told from the microscope would score 50 %. Beside it stand the distance of the grey
histograms (earth mover's, in standard deviations) and the power at four length scales, drawn over real.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import wasserstein_distance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from scsam_monai.data.synthetic import MODALITIES, TISSUES, draw_look, generate_tissue
from scsam_monai.io import read_image
from scsam_monai.weights.pyramid import build_pyramid

CROP = 192
BANDS_NM = ((20, 40), (40, 80), (80, 200), (200, 600))


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, compare and print one row of markdown."""
    options = parse(arguments)
    rng = np.random.default_rng(options.seed)
    real, of_real = real_crops(options, rng)
    drawn, of_drawn = drawn_crops(options, rng)
    correct = told_apart(options, real, of_real, drawn, of_drawn)
    distance = wasserstein_distance(*(np.sort(crops.ravel())[::97] for crops in (real, drawn)))
    power = [spectrum(crops, options.pixel_nm) for crops in (real, drawn)]
    ratios = ", ".join(f"{d / r:.2f}" for r, d in zip(*power, strict=True))
    bands = ", ".join(f"{low}-{high}" for low, high in BANDS_NM)
    print(
        f"| tissue | against | correct | grey distance | power ratio at {bands} nm |\n|---|---|---:|---:|---|"
    )
    against = ", ".join(file.stem for file in options.real)
    print(f"| {options.tissue}, {options.modality} | {against} | {correct:.0%} | {distance:.2f} | {ratios} |")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("real", type=Path, nargs="+", help="images or stacks of the microscope")
    parser.add_argument("--tissue", choices=TISSUES, required=True)
    parser.add_argument("--modality", choices=MODALITIES, required=True)
    parser.add_argument(
        "--pixel-nm", type=float, required=True, help="of the real images; drawn ones get the same"
    )
    parser.add_argument(
        "--weights", help="file for timm's tf_efficientnet_lite0, or timm; random if left out"
    )
    parser.add_argument("--volumes", type=int, default=12, help="to draw")
    parser.add_argument("--crops", type=int, default=96, help="of each kind")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(arguments)


def level(crop: np.ndarray) -> np.ndarray:
    """The crop with zero mean and unit spread."""
    crop = crop.astype(np.float32)
    return (crop - crop.mean()) / max(float(crop.std()), 1e-6)


def real_crops(options: argparse.Namespace, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops ``(n, y, x)`` and the quarter of the stack that each is from."""
    stacks = [np.atleast_3d(read_image(file).array.T).T for file in options.real]
    crops, groups = [], []
    for index in range(options.crops):
        number, quarter = index % len(stacks), int(rng.integers(4))
        stack = stacks[number]
        half = [edge // 2 for edge in stack.shape[1:]]
        room = [max(0, h - CROP) for h in half]
        y, x = (
            side * h + int(rng.integers(r + 1))
            for side, h, r in zip(divmod(quarter, 2), half, room, strict=True)
        )
        crop = stack[int(rng.integers(len(stack))), y : y + CROP, x : x + CROP]
        if crop.shape == (CROP, CROP):
            crops.append(level(crop))
            groups.append(4 * number + quarter)
    return np.stack(crops), np.array(groups)


def drawn_crops(options: argparse.Namespace, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Crops ``(n, y, x)`` without the faults of sections, and the volume that each is from."""
    crops, groups = [], []
    for number in range(options.volumes):
        look = draw_look(options.modality, rng)
        depth = options.pixel_nm if options.modality == "fib-sem" else look.voxel_size_nm[0]
        faults: dict[str, Any] = dict.fromkeys(
            ("inverted", "charging", "knife_marks", "folds", "margin", "tiles"), False
        )
        size = (depth, options.pixel_nm, options.pixel_nm)
        look = replace(look, shape=(3, 384, 384), voxel_size_nm=size, **faults)
        volume = generate_tissue(options.tissue, options.seed + number, look)
        for _ in range(-(-options.crops // options.volumes)):
            z, y, x = (int(rng.integers(edge)) for edge in (3, 384 - CROP, 384 - CROP))
            crops.append(level(volume.image[z, y : y + CROP, x : x + CROP]))
            groups.append(1000 + number)
    return np.stack(crops), np.array(groups)


def told_apart(
    options: argparse.Namespace,
    real: np.ndarray,
    of_real: np.ndarray,
    drawn: np.ndarray,
    of_drawn: np.ndarray,
) -> float:
    """Balanced share of crops that the classifier gets right in groups it has not learned from."""
    torch.manual_seed(options.seed)
    network = build_pyramid(weights=options.weights).eval()
    features = np.concatenate([describe(network, crops) for crops in (real, drawn)])
    truth = np.repeat([0, 1], [len(real), len(drawn)])
    # Each fold holds out a quarter of the real groups and a quarter of the drawn ones.
    fold = np.empty(len(truth), int)
    for kind, groups in ((0, of_real), (1, of_drawn)):
        _, order = np.unique(groups, return_inverse=True)
        fold[truth == kind] = order % 4
    classifier = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=500)
    )
    answer = cross_val_predict(classifier, features, truth, groups=fold, cv=GroupKFold(4))
    return float(np.mean([np.mean(answer[truth == kind] == kind) for kind in (0, 1)]))


@torch.no_grad()
def describe(network: torch.nn.Module, crops: np.ndarray) -> np.ndarray:
    """Mean and spread of every channel at every stride, ``(n, features)``."""
    found = []
    for part in np.array_split(crops, -(-len(crops) // 16)):
        image = torch.from_numpy(np.clip(0.5 + 0.2 * part, 0, 1))[:, None]
        maps = network(image)
        found.append(torch.cat([torch.cat([m.mean((2, 3)), m.std((2, 3))], 1) for m in maps], 1))
    return torch.cat(found).numpy()


def spectrum(crops: np.ndarray, pixel_nm: float) -> list[float]:
    """Mean power in each of the bands of wavelengths."""
    window = np.hanning(CROP)[:, None] * np.hanning(CROP)
    power = (np.abs(np.fft.fft2(crops * window)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(CROP, pixel_nm)[:, None], np.fft.fftfreq(CROP, pixel_nm))
    return [float(power[(frequency >= 1 / high) & (frequency < 1 / low)].mean()) for low, high in BANDS_NM]


if __name__ == "__main__":
    main()
