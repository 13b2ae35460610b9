"""Fit the tables that tell drawn tissues apart, and an image from its negative; ask them about real stacks.

    python benchmarks/recognition.py --fit bundle/models/recognition.safetensors
    python benchmarks/recognition.py STACK.tif:4.6 OTHER.png:5

The first draws volumes of every tissue in every microscope's look, a fifth of which only test the fit, prints
how often crops of those are told right, and writes the tables. The second prints a row for each image, named with
the nm of its pixels: what it resembles, how far it is from all that was drawn, and the same of its negative.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from scsam_monai.data.synthetic import MODALITIES, TISSUES, draw_look, generate_tissue
from scsam_monai.inference.recognition import CROP, Likeness, Recognition, crops_of, described
from scsam_monai.io.empty import find_empty
from scsam_monai.io.intensity import intensity_range_of
from scsam_monai.io.volume import open_volume
from scsam_monai.networks.pyramid import PYRAMID
from scsam_monai.weights.pyramid import build_pyramid

FAULTLESS: dict[str, Any] = dict.fromkeys(("inverted", "margin", "tiles"), False)
NM = (4.0, 18.0)
CROPS, EDGE = 4, 384
HELD_OUT = 5
"""One drawn volume in as many only tests the fit."""
DIRECTIONS = 24
REACH = 95
"""Percent of drawn volumes that are nearer to another one than the reach."""
STRENGTH = 0.001


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit, or print a table of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", nargs="*", help="FILE:NM of a real image or stack")
    parser.add_argument("--fit", type=Path, metavar="FILE", help="write the tables")
    parser.add_argument("--rounds", type=int, default=14, help="of one volume of each tissue in each look")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if options.fit is not None:
        fit(options.fit, options.rounds, options.seed)
    if options.image:
        recognition = Recognition()
        print("| image | resembles | next | distance | log odds of a negative | as a negative |")
        print("|---|---|---|---:|---:|---|")
        for name in options.image:
            file, _, nm = name.rpartition(":")
            print(row(Path(file), float(nm), recognition))


def row(file: Path, nm: float, recognition: Recognition) -> str:
    """What the tables say of an image and of its negative, as a row of markdown."""
    with open_volume(file) as volume:
        empty = find_empty(volume)
        crops = crops_of(volume, intensity_range_of(volume, empty=empty), nm, empty)
    if crops is None:
        return f"| {file.name} | too small | | | | |"
    found, opposite = recognition.look(crops), recognition.look(1 - crops)
    first, second = (f"{name} {share:.2f}" for name, share in list(found.tissues.items())[:2])
    if found.tissue is None:
        first = f"none ({first})"
    return f"| {file.name} | {first} | {second} | {found.distance:.2f} | {found.negative:.2f} | {seen(opposite)} |"


def seen(found: Likeness) -> str:
    """Whether a negative is told as one."""
    return f"{found.negative:.2f}, {'told' if found.turned_round else 'not told'}"


def fit(target: Path, rounds: int, seed: int) -> None:
    """Draw, describe, fit and write."""
    positive, negative, tissues, volumes = features(rounds, seed)
    mean, spread = positive.mean(0), positive.std(0) + 1e-6
    scaled, opposite = (positive - mean) / spread, (negative - mean) / spread
    held = volumes % HELD_OUT == 0
    for learned, tested in ((~held, held), (np.ones_like(held), None)):
        telling = LogisticRegression(C=STRENGTH, max_iter=2000).fit(scaled[learned], tissues[learned])
        change = (opposite - scaled)[learned]
        # Told of a picture and of its negative: the difference of the two, either way round.
        turning = LogisticRegression(C=STRENGTH, fit_intercept=False, max_iter=2000)
        turning.fit(np.concatenate([change, -change]), np.repeat([0, 1], len(change)))
        if tested is not None:
            right = telling.predict(scaled[tested]) == tissues[tested]
            odds = (opposite - scaled)[tested] @ turning.coef_[0]
            per_volume = [odds[volumes[tested] == number].mean() for number in np.unique(volumes[tested])]
            print(f"{len(np.unique(volumes))} volumes; of crops of volumes that were held out")
            print(f"tissue told right: {right.mean():.0%}; taken for a negative: {np.mean(odds > 0):.1%}")
            print("log odds of a negative by volume, highest:", *np.round(sorted(per_volume)[-5:], 2))
    numbers = np.unique(volumes)
    centres = np.stack([scaled[volumes == number].mean(0) for number in numbers])
    directions = PCA(DIRECTIONS).fit(centres)
    axes = directions.components_ / np.sqrt(directions.explained_variance_)[:, None]
    places = centres @ axes.T
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + np.diag(np.full(len(places), np.inf))
    order = [list(TISSUES).index(name) for name in telling.classes_]
    tissue, bias = (np.empty_like(part) for part in (telling.coef_, telling.intercept_))
    tissue[order], bias[order] = telling.coef_, telling.intercept_
    tables = {
        "mean": mean,
        "spread": spread,
        "tissue": tissue,
        "tissue_bias": bias,
        "negative": turning.coef_[0],
        "axes": axes,
        "volumes": places,
        "reach": np.percentile(apart.min(1), REACH, keepdims=True),
    }
    large = {"tissue", "axes", "volumes"}
    packed = {
        key: torch.from_numpy(np.ascontiguousarray(table)).to(
            torch.float16 if key in large else torch.float32
        )
        for key, table in tables.items()
    }
    save_file(packed, target)
    print(f"{target}: {target.stat().st_size} bytes")


def features(rounds: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of crops and of their negatives ``(n, features)``, their tissues, and the volumes they are from."""
    encoder, lottery = build_pyramid(PYRAMID, weights=PYRAMID).eval(), np.random.default_rng(seed)
    positive, negative, tissues, volumes = [], [], [], []
    kinds = [(tissue, look) for _ in range(rounds) for tissue in TISSUES for look in MODALITIES]
    for number, (tissue, modality) in enumerate(kinds):
        nm = float(np.exp(lottery.uniform(*np.log(NM))))
        look = draw_look(modality, lottery)
        depth = nm if modality == "fib-sem" else max(nm, look.voxel_size_nm[0])
        look = replace(look, shape=(2, EDGE, EDGE), voxel_size_nm=(depth, nm, nm), **FAULTLESS)
        image = generate_tissue(tissue, 1000 * (seed + 5) + number, look).image
        black, white = np.percentile(image, (0.5, 99.5))
        for _ in range(CROPS):
            z, y, x = (int(lottery.integers(room)) for room in (2, EDGE - CROP, EDGE - CROP))
            crop = image[z, y : y + CROP, x : x + CROP].astype(np.float32)
            ways = described(encoder, np.clip((crop - black) / (white - black), 0, 1)[None])
            positive.append(ways[0].numpy())
            negative.append(ways[1].numpy())
            tissues.append(tissue)
            volumes.append(number)
        if number % 24 == 23:
            print(f"{number + 1} of {len(kinds)} drawn", flush=True)
    return np.concatenate(positive), np.concatenate(negative), np.array(tissues), np.array(volumes)


if __name__ == "__main__":
    main()
