"""What an image looks like before it is segmented: which drawn tissue, and whether its grey is turned round.

Means and spreads of a frozen ImageNet pyramid's maps go through two linear layers, fitted on drawn tissue alone:
one tells the tissues apart, the other an image from its negative. A third table says how far an image lies from
all that was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from scsam_monai.io.empty import EmptyParts
from scsam_monai.io.resample import resize
from scsam_monai.io.volume import VolumeReader
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights.pyramid import build_pyramid
from scsam_monai.weights.registry import Folders
from scsam_monai.weights.state_dicts import read_weights

TABLES = "recognition"
"""Name of the fitted tables among the weights."""
TISSUES = ("neuropil", "hepatocyte", "gland", "blood", "plant", "islet")
"""In the order of the tables."""
CROP, CROPS, TRIES = 192, 12, 8
"""Pixels of a crop's edge, crops of an image, and places looked at for one without padding."""
LEAST = 64
"""Pixels along y and x that an image has to have."""
FINEST_NM = 4.0
"""Pixels of drawn tissue are no smaller; finer ones are averaged."""
FAR = 1.1
"""Distances from drawn tissue, in those of drawn volumes from each other, from which on an image is like none."""
CLEARLY = 1.2
"""Log odds of a crop's being a negative, on average, from which on it is said; most negatives of real tissue are
beyond it, and no right image of those that were tried."""


@dataclass(frozen=True)
class Likeness:
    """What an image looks like.

    Attributes:
        tissues: probability of each drawn tissue, the likeliest first.
        distance: from the nearest drawn volume, in the distance that nearly all drawn volumes have from the others.
        negative: log odds that dark and bright are exchanged.
    """

    tissues: Mapping[str, float]
    distance: float
    negative: float

    @property
    def tissue(self) -> str | None:
        """The tissue that it resembles most; None where it is like none."""
        return None if self.distance > FAR else next(iter(self.tissues))

    @property
    def turned_round(self) -> bool:
        """Whether membranes are bright, clearly, in an image like drawn tissue."""
        return self.negative > CLEARLY and self.distance <= FAR


class Recognition:
    """Tells tissues by frozen features.

    Args:
        weights_dir: folder or folders in which weights are looked for first.

    Raises:
        InputError: if the weights that come with the package are missing or damaged.
    """

    def __init__(self, weights_dir: Folders = None) -> None:
        self.encoder = build_pyramid(PYRAMID, weights=PYRAMID, weights_dir=weights_dir).eval()
        self.tables = {key: table.float() for key, table in read_weights(TABLES, weights_dir).items()}

    def look(self, crops: np.ndarray) -> Likeness:
        """Tell what crops of one image look like.

        Args:
            crops: ``(n, y, x)`` in [0, 1].
        """
        return recognise(self.tables, *described(self.encoder, crops))


@cache
def recognition(*weights_dir: Path) -> Recognition:
    """Return the one of this process.

    Args:
        *weights_dir: folders in which weights are looked for first.

    Raises:
        InputError: see :class:`Recognition`.
    """
    return Recognition(weights_dir)


@torch.no_grad()
def described(encoder: PyramidEncoder, crops: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return mean and spread of every map of crops and of their negatives, each ``(n, features)``.

    Args:
        encoder: of all strides.
        crops: ``(n, y, x)`` in [0, 1].
    """
    image = torch.from_numpy(np.ascontiguousarray(crops, np.float32))[:, None]

    def features(part: Tensor) -> Tensor:
        return torch.cat([torch.cat([m.mean((2, 3)), m.std((2, 3))], 1) for m in encoder(part)], 1)

    return features(image), features(1 - image)


def recognise(tables: Mapping[str, Tensor], positive: Tensor, negative: Tensor) -> Likeness:
    """Read the tables.

    Args:
        tables: ``mean`` and ``spread`` of the features; ``tissue`` with ``tissue_bias`` and ``negative``, the two
            linear layers; ``axes``, directions scaled to unit spread, ``volumes``, drawn ones in these, and
            ``reach``.
        positive: features of the crops, ``(n, features)``.
        negative: of their negatives.
    """
    scaled, opposite = ((part - tables["mean"]) / tables["spread"] for part in (positive, negative))
    # Whichever of the two is drawn tissue: how far an image lies from it does not depend on its contrast.
    against = float(((opposite - scaled) @ tables["negative"]).mean())
    upright = opposite if against > CLEARLY else scaled
    shares = torch.softmax((upright @ tables["tissue"].T + tables["tissue_bias"]).mean(0), 0)
    place = upright.mean(0) @ tables["axes"].T
    distance = float((tables["volumes"] - place).norm(dim=1).min() / tables["reach"])
    found = dict(zip(TISSUES, shares.tolist(), strict=True))
    return Likeness(dict(sorted(found.items(), key=lambda item: -item[1])), distance, against)


def crops_of(
    volume: VolumeReader, intensity: Sequence[float], pixel_nm: float, empty: EmptyParts
) -> np.ndarray | None:
    """Cut crops out of a volume's content at places that are the same each time.

    Args:
        volume: read crop by crop.
        intensity: grey values that become 0 and 1.
        pixel_nm: edge of its pixels.
        empty: which parts of it are empty.

    Returns:
        ``(n, y, x)`` in [0, 1], all of one size; None where the content is too small to tell.
    """
    coarser = max(1, round(FINEST_NM / pixel_nm))
    _, *plane = empty.content
    edge = min(CROP * coarser, *(last - first for first, last in plane))
    if edge < LEAST * coarser:
        return None
    size, (black, white) = edge // coarser, intensity
    cut = [
        resize((part.astype(np.float32) - black) / (white - black), size, size, labels=False)
        for part in _parts(volume, empty, edge)
    ]
    return np.nan_to_num(np.clip(np.stack(cut), 0, 1))


def _parts(volume: VolumeReader, empty: EmptyParts, edge: int) -> Iterator[np.ndarray]:
    """Squares from sections at equal distances, without padding where a few tries find such."""
    lottery, (sections, *plane) = np.random.default_rng(0), empty.content
    for z in np.linspace(sections[0], sections[1] - 1, CROPS).round().astype(int).tolist():
        for _ in range(TRIES):
            y, x = (int(lottery.integers(first, last - edge + 1)) for first, last in plane)
            region = (z, z + 1), (y, y + edge), (x, x + edge)
            if not empty.near(region):
                break
        yield volume.read(region)[0]


def doubts(path: Path, found: Likeness, known: Sequence[str], *, inverted: bool) -> list[str]:
    """Return why a model may fail on an image, a line for each reason.

    Args:
        path: of the image.
        found: what it looks like, as the network will see it.
        known: tissues that the model learned from.
        inverted: whether its grey values are turned round for the network already.
    """
    lines, drawn = [], ", ".join(known)
    if found.turned_round:
        remedy = "leave out --invert" if inverted else "if so, --invert turns grey values round"
        lines.append(f"{path}: membranes look bright, as in a raw picture of a scanning microscope; {remedy}")
    if found.tissue is None:
        lines.append(
            f"{path}: it resembles no tissue that the model learned from, drawn {drawn}; if it should, the voxel "
            "size may be wrong"
        )
    elif found.tissue not in known:
        lines.append(
            f"{path}: it resembles {found.tissue}, and the model learned from drawn {drawn} alone; expect little, "
            "or adapt it to an annotated section (scsam adapt)"
        )
    return lines
