"""The finite set of pictures that training shows of a crop: flips and turns, and zooms."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np

from scsam_monai.errors import InputError
from scsam_monai.training.views import N_VIEWS

ZOOM_RANGE = (0.25, 4.0)
_STREAM = 1
"""Sets this randomness apart from that of other draws from the same seed and index."""


class Variant(NamedTuple):
    """One picture of a crop."""

    view: int
    """0 to 7, see :func:`~scsam_monai.training.views.apply_view`."""
    zoom: float
    """Edge of what is shown, in crops: 2 shows twice the width at half the size."""
    number: int
    """Tells the picture from the others of its crop."""


class Variants:
    """Which pictures a crop has, and which of them an epoch shows.

    Successive epochs go through all pictures of a crop before any comes again, each crop in an order of its own.

    Args:
        views: ``"d4"`` for all eight, ``"none"`` for the crop as it is, a number of views, drawn anew for each
            crop, or a list of views, the same for all crops.
        zooms: combined with every view.
        seed: of draws and orders.

    Example:
        >>> variants = Variants("d4", seed=3)
        >>> sorted(variants.shown(index=5, epoch=epoch).view for epoch in range(8))
        [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(
        self, views: str | int | Sequence[int] = "d4", zooms: Sequence[float] = (1.0,), seed: int = 0
    ) -> None:
        self.views, self.zooms, self.seed = _checked_views(views), _checked_zooms(zooms), seed
        n_views = self.views if isinstance(self.views, int) else len(self.views)
        self.count = n_views * len(self.zooms)

    def shown(self, index: int, epoch: int) -> Variant:
        """The picture of crop ``index`` that ``epoch`` shows."""
        return self.of(index)[epoch % self.count]

    def of(self, index: int) -> list[Variant]:
        """All pictures of crop ``index``, in the order in which they are shown."""
        rng = np.random.default_rng((self.seed, index, 0, _STREAM))
        views = rng.permutation(N_VIEWS)[: self.views] if isinstance(self.views, int) else self.views
        pairs = product(views, enumerate(self.zooms))
        all_ = [Variant(int(view), zoom, int(view) + N_VIEWS * place) for view, (place, zoom) in pairs]
        return [all_[position] for position in rng.permutation(len(all_))]


def _checked_views(views: str | int | Sequence[int]) -> int | tuple[int, ...]:
    named: dict[object, int | tuple[int, ...]] = {"d4": tuple(range(N_VIEWS)), "none": (0,)}
    if isinstance(views, str) and views in named:
        return named[views]
    if isinstance(views, int) and not isinstance(views, bool) and 1 <= views <= N_VIEWS:
        return views
    if isinstance(views, Sequence) and not isinstance(views, str):
        numbers = tuple(views)
        if numbers and len(set(numbers)) == len(numbers) and set(numbers) <= set(range(N_VIEWS)):
            return numbers
    raise InputError(
        "views",
        expected=f"one of d4, none, a number from 1 to {N_VIEWS}, or a list of views from 0 to {N_VIEWS - 1}",
        met=repr(views),
        remedy="correct the config",
    )


def _checked_zooms(zooms: Sequence[float]) -> tuple[float, ...]:
    low, high = ZOOM_RANGE
    numbers = tuple(float(zoom) for zoom in zooms)
    if not numbers or len(set(numbers)) < len(numbers) or not all(low <= zoom <= high for zoom in numbers):
        expected = f"different factors from {low:g} to {high:g}"
        raise InputError("zooms", expected=expected, met=repr(list(zooms)), remedy="correct the config")
    return numbers
