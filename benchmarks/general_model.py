"""Make what the shipped model learns from: drawn tissues, islet cells, and the membranes of a FIB-25 block.

    python benchmarks/general_model.py data DATA --fib25 RAW.tif BODIES.tif
    python benchmarks/general_model.py pyramid RUN/model.pt PYRAMID.safetensors

The first writes a data set of 107 volumes: ten of each tissue; 24 more of neuropil, and of 40 further ones those
with myelin; the sixteen islet volumes of ``scsam generate --training 16``; and FIB-25 (CC BY), where membranes are
what lies between two bodies, and all but membranes and what is far from them is unknown. The second takes the
pyramid out of a U-Net that was trained on it with ``pretrained_unet.json``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from safetensors.torch import save_file
from scipy.ndimage import distance_transform_edt
from skimage.segmentation import find_boundaries

from scsam_monai.data.dataset import read_json
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic import TISSUES, VOCABULARY, write_sample_dataset, write_tissue_dataset
from scsam_monai.data.synthetic.dataset import write_tiff
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_json
from scsam_monai.weights.state_dicts import read_state_dict

MYELIN = VOCABULARY.index("myelin")
FIB25_NM = 8.0
PREFIX = "encoder.model."
"""Of the pyramid in the U-Net's state."""
CLEAR = 2.0
"""Pixels from a membrane beyond which there is none; what lies between is unknown."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the data, or take out the pyramid."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("data", "pyramid"))
    parser.add_argument("source", type=Path, help="the folder to write, or the U-Net's model.pt")
    parser.add_argument("target", type=Path, nargs="?", help="the pyramid's file")
    parser.add_argument("--fib25", type=Path, nargs=2, metavar=("RAW", "BODIES"))
    options = parser.parse_args(arguments)
    if options.what == "data":
        print(make_data(options.source, options.fib25))
    elif options.target is None:
        parser.error("pyramid: name the file to write, too")
    else:
        take_pyramid(options.source, options.target)


def make_data(folder: Path, fib25: Sequence[Path] | None) -> Path:
    """Draw everything and describe it; without ``fib25`` all but that."""
    tissues = write_tissue_dataset(folder / "tissues", ",".join(TISSUES), training=10 * len(TISSUES))
    neuropil = write_tissue_dataset(folder / "neuropil", "neuropil", seed=100, training=24)
    further = write_tissue_dataset(folder / "myelin", "neuropil", seed=300, training=40)
    islets = write_sample_dataset(folder / "islets", training=16)
    items = [*training_items(tissues), *training_items(neuropil)]
    items += [item for item in training_items(further) if has_myelin(item["label"])]
    items += [item | {"annotated": drawn_in_islets()} for item in training_items(islets)]
    if fib25 is not None:
        items.append(add_fib25(folder, *fib25))
    content = read_json(tissues)
    described = {
        key: value for key, value in content.items() if key not in ("training", "validation", "test")
    }
    described["name"] = "What the shipped model learned from"
    if fib25 is not None:
        described["licence"] = f"{described['licence']}; FIB-25: CC BY"
    return write_json(folder / "dataset.json", described | {"training": items})


def training_items(description: Path) -> list[dict[str, Any]]:
    """Training volumes of a generated data set, with their whole paths."""
    items: list[dict[str, Any]] = read_json(description)["training"]
    folder = description.parent.absolute()
    return [item | {key: str(folder / item[key]) for key in ("image", "label")} for item in items]


def has_myelin(label: str) -> bool:
    """Whether a hundredth of a volume is myelin, or more."""
    return bool((tifffile.imread(label) == MYELIN).mean() > 0.01)


def drawn_in_islets() -> list[str]:
    """Classes that the sample's islets have or are known to lack; space outside cells has no label there."""
    return [name for name in VOCABULARY[1:] if name != "extracellular"]


def add_fib25(folder: Path, raw: Path, bodies: Path) -> dict[str, Any]:
    """Write a block of FIB-25 with its membranes as labels."""
    folder = folder.absolute()
    for name, array in (("images", tifffile.imread(raw)), ("labels", membranes(tifffile.imread(bodies)))):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_tiff(folder / name / "fib25.tif", array, (FIB25_NM,) * 3)
    return {
        "image": str(folder / "images" / "fib25.tif"),
        "label": str(folder / "labels" / "fib25.tif"),
        "voxel_size_nm": [FIB25_NM] * 3,
        "annotated": ["membrane"],
    }


def membranes(bodies: np.ndarray) -> np.ndarray:
    """Return 1 where bodies meet and in the gaps between, 0 far from there and 255 beside, section by section."""
    labels = np.zeros(bodies.shape, np.uint8)
    for section, known in zip(labels, bodies, strict=True):
        border = find_boundaries(known, mode="thick") | (known == 0)
        if border.any():
            section[distance_transform_edt(~border) <= CLEAR] = IGNORE_LABEL
            section[border] = VOCABULARY.index("membrane")
    return labels


def take_pyramid(source: Path, target: Path) -> None:
    """Write the encoder of a U-Net's ``model.pt`` as weights of a pyramid."""
    state = read_state_dict(source)
    own = {
        key.removeprefix(PREFIX): value.contiguous() for key, value in state.items() if key.startswith(PREFIX)
    }
    if not own:
        remedy = "train with pretrained_unet.json"
        raise InputError(source, expected="a U-Net on a pyramid", met="another network", remedy=remedy)
    save_file(own, target)


if __name__ == "__main__":
    main()
