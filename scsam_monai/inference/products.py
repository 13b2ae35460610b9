"""The maps that a segmentation can make."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from scsam_monai.errors import InputError


class Product(StrEnum):
    """A map over the volume, uint8."""

    LABELS = "labels"
    """Class ids (z, y, x)."""
    PROBABILITIES = "probabilities"
    """Of each class, (K', z, y, x); 255 is certain."""
    CONFIDENCE = "confidence"
    """Probability of the label, (z, y, x); the background of chosen classes has that of all others together."""
    DISAGREEMENT = "disagreement"
    """Number of planes, of three, that alone would have drawn another class, (z, y, x)."""


def as_products(names: Sequence[Product | str], planes: int) -> tuple[Product, ...]:
    """Return the maps of some names, labels first.

    Raises:
        InputError: for a name that is none, or a map that takes three planes.
    """
    valid = [product.value for product in Product if planes == 3 or product != Product.DISAGREEMENT]
    names = [names] if isinstance(names, str) else names
    for name in names:
        if name not in valid:
            raise InputError(
                "products",
                expected=f"{', '.join(valid)} (with planes={planes})",
                met=f"{name}",
                remedy="correct it; disagreement takes planes=3",
            )
    return tuple(dict.fromkeys([Product.LABELS, *map(Product, names)]))
