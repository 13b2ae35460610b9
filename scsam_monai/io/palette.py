"""A fixed colour for every organelle, by its name, or for every class id."""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Sequence

import numpy as np

# Okabe & Ito's colours for all kinds of colour vision (jfly.uni-koeln.de/color), without black; the first four
# are told apart best over grey, as most data sets have no more classes. Then Paul Tol's "muted" and "light"
# schemes, whose hues lie between them.
NAMED = (
    (86, 180, 233),  # sky blue
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermilion
    (204, 121, 167),  # reddish purple
    (0, 158, 115),  # bluish green
    (230, 159, 0),  # orange
    (51, 34, 136),  # indigo; half transparent over grey, blue would pass for sky blue
    (136, 34, 85),  # wine
    (0, 114, 178),  # blue
    (153, 153, 51),  # olive
    (170, 68, 153),  # purple
    (17, 119, 51),  # green
    (68, 170, 153),  # teal
    (204, 102, 119),  # rose
    (221, 204, 119),  # sand
    (238, 136, 102),  # salmon
    (187, 204, 51),  # pear
)
UNKNOWN = (128, 128, 128)
"""Colour of voxels that are marked as unknown."""
GOLDEN_RATIO = 0.618033988749895


def class_colours(n_classes: int) -> np.ndarray:
    """Return the colours of class ids 0 to ``n_classes - 1``.

    A class keeps its colour whatever the number of classes. The background is black: it is never painted.

    Args:
        n_classes: K', background included.

    Returns:
        (K', 3) uint8.

    Example:
        >>> class_colours(2).tolist()
        [[0, 0, 0], [86, 180, 233]]
    """
    spun = (_spun(index) for index in range(max(0, n_classes - 1 - len(NAMED))))
    return np.array([(0, 0, 0), *NAMED, *spun][:n_classes], dtype=np.uint8)


KNOWN = {
    "membrane": 0,
    "nucleus": 1,
    "mitochondrion": 2,
    "granule": 3,
    "golgi": 4,
    "er": 5,
    "vacuole": 6,
    "synapse": 7,
    "glia": 8,
    "lipid": 9,
    "myelin": 10,
    "chloroplast": 11,
    "extracellular": 12,
}
"""Place in :data:`NAMED` of organelles by name; those of other names get what is left."""
SAME = {
    "plasma membrane": "membrane",
    "membranes": "membrane",
    "nuclei": "nucleus",
    "mitochondria": "mitochondrion",
    "mito": "mitochondrion",
    "granules": "granule",
    "secretory granule": "granule",
    "golgi apparatus": "golgi",
    "endoplasmic reticulum": "er",
    "vacuoles": "vacuole",
    "synapses": "synapse",
    "lipid droplet": "lipid",
    "lipid droplets": "lipid",
    "chloroplasts": "chloroplast",
    "extracellular space": "extracellular",
}


def colours_of(class_names: Sequence[str]) -> np.ndarray:
    """Return the colours of classes by their names: an organelle has the same in every model and data set.

    A name that is not known always asks for the same colour, too, and gets the next free one if another class of
    these has it.

    Args:
        class_names: background first.

    Returns:
        (K', 3) uint8.

    Example:
        >>> bool((colours_of(["background", "golgi"])[1] == colours_of(["background", "er", "Golgi"])[2]).all())
        True
    """
    keys = [_key(name) for name in class_names[1:]]
    taken: dict[int, int] = {}
    for place, key in enumerate(keys):
        if key in KNOWN and KNOWN[key] not in taken.values():
            taken[place] = KNOWN[key]
    count = max(len(NAMED), len(keys))
    for place, key in enumerate(keys):
        if place not in taken:
            wish = len(KNOWN) + zlib.crc32(key.encode()) % (len(NAMED) - len(KNOWN))
            ring = [*range(wish, count), *range(wish)]
            taken[place] = next(colour for colour in ring if colour not in taken.values())
    every = class_colours(count + 1)
    return every[[0, *(1 + taken[place] for place in range(len(keys)))]]


def _key(name: str) -> str:
    plain = " ".join(name.lower().replace("_", " ").replace("-", " ").split())
    return SAME.get(plain, plain)


def _spun(index: int) -> tuple[int, ...]:
    """Turn on by the golden ratio: every further hue falls into the widest gap left by those before."""
    red, green, blue = colorsys.hsv_to_rgb((index * GOLDEN_RATIO) % 1, 0.65, (0.95, 0.6)[index % 2])
    return tuple(round(255 * channel) for channel in (red, green, blue))
