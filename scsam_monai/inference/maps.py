"""Turn a block's logits into labels and, on request, probabilities, confidence and disagreement."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.inference.products import Product
from scsam_monai.inference.selection import Selection

Where = tuple[slice, slice, slice]


def argmax_labels(logits: Tensor) -> Tensor:
    """Return the class of the highest logit; of equal ones the lowest class.

    A running comparison, a section at a time: ``Tensor.argmax`` over the first axis takes several times as long on
    a CPU, and temporaries of all sections twice as long.

    Args:
        logits: (K', ...) with at most 256 classes.

    Returns:
        (...) uint8.
    """
    if len(logits) > 256:
        raise ValueError(f"label maps hold up to 256 classes, met {len(logits)}")
    labels = torch.zeros(logits.shape[1:], dtype=torch.uint8, device=logits.device)
    if logits.ndim == 4:
        for section, drawn in zip(logits.unbind(1), labels, strict=True):
            _draw_highest(section, drawn)
    else:
        _draw_highest(logits, labels)
    return labels


def check_logits(logits: Tensor) -> None:
    """Refuse logits that are infinite or not numbers, of which no comparison makes a class; one sum tells.

    Raises:
        InputError: if there are some.
    """
    total = float(logits.sum(dtype=torch.float32))
    if not math.isfinite(total):
        raise InputError(
            "logits",
            expected="finite numbers from the network",
            met=f"{total} in {tuple(logits.shape)}",
            remedy="use other weights: these are damaged, or their training has failed",
        )


def _draw_highest(logits: Tensor, labels: Tensor) -> None:
    """Write the class of the highest of ``logits`` (K', ...) into ``labels`` (...), which are zero."""
    best = logits[0].clone()
    higher = torch.empty_like(labels, dtype=torch.bool)
    for index, logit in enumerate(logits[1:], start=1):
        torch.gt(logit, best, out=higher)
        labels.masked_fill_(higher, index)
        torch.maximum(best, logit, out=best)


class Drawing(Protocol):
    """Collects a block's logits piece by piece."""

    def add(self, where: Where, logits: Tensor, plane: int = 0) -> None:
        """Take the logits (K', z, y, x) that a plane sees in a part of the block."""

    def products(self) -> dict[Product, np.ndarray]:
        """Return the block's maps once all parts are there."""


class OnePlaneDrawing:
    """Maps of one plane: every voxel is predicted once.

    Args:
        shape: of the block, (z, y, x).
        wanted: maps to make.
        selection: what is drawn; None for all.
    """

    def __init__(
        self, shape: tuple[int, ...], wanted: Iterable[Product], selection: Selection | None = None
    ) -> None:
        self.shape, self.wanted, self.selection = shape, frozenset(wanted), selection
        self.maps: dict[Product, np.ndarray] = {}

    def add(self, where: Where, logits: Tensor, plane: int = 0) -> None:
        """Take the logits (K', z, y, x) of a part of the block."""
        labels = argmax_labels(logits)
        if self.selection is not None:
            sure = torch.softmax(logits, dim=0).amax(dim=0) if self.selection.asks_confidence else None
            labels = self.selection.apply(labels, sure)
        self._put(Product.LABELS, where, labels)
        if self.wanted & {Product.PROBABILITIES, Product.CONFIDENCE}:
            probabilities = torch.softmax(logits, dim=0)
            if Product.CONFIDENCE in self.wanted:
                self._put(
                    Product.CONFIDENCE, where, _as_bytes(_sureness(self.selection, labels, probabilities))
                )
            if Product.PROBABILITIES in self.wanted:
                self._put(Product.PROBABILITIES, where, _as_bytes(probabilities))

    def products(self) -> dict[Product, np.ndarray]:
        """Return the block's maps."""
        return self.maps

    def _put(self, product: Product, where: Where, values: Tensor) -> None:
        leading = values.shape[:-3]
        if product not in self.maps:
            self.maps[product] = np.empty((*leading, *self.shape), np.uint8)
        self.maps[product][(..., *where)] = values.cpu().numpy()


class ThreePlanesDrawing:
    """Adds up the probabilities that three planes see in each voxel.

    Sums are 16-bit integers, 1/10922 a step: a quarter of what they would take as float32 planes.

    Args:
        shape: of the block, (z, y, x).
        wanted: maps to make.
        selection: what is drawn; None for all.
    """

    STEPS = 10922  # three times it is the largest int16

    def __init__(
        self, shape: tuple[int, ...], wanted: Iterable[Product], selection: Selection | None = None
    ) -> None:
        self.shape, self.wanted, self.selection = shape, frozenset(wanted), selection
        self.total: Tensor | None = None
        self.own: Tensor | None = None

    def add(self, where: Where, logits: Tensor, plane: int = 0) -> None:
        """Take the logits (K', z, y, x) that a plane, 0 to 2, sees in a part of the block."""
        if self.total is None:
            self.total = logits.new_zeros((len(logits), *self.shape), dtype=torch.int16)
            if Product.DISAGREEMENT in self.wanted:
                self.own = logits.new_zeros((3, *self.shape), dtype=torch.uint8)
        self.total[(slice(None), *where)] += (torch.softmax(logits, dim=0) * self.STEPS).round().short()
        if self.own is not None:
            self.own[plane][where] = argmax_labels(logits)

    def products(self) -> dict[Product, np.ndarray]:
        """Return the block's maps."""
        assert self.total is not None
        labels = argmax_labels(self.total)
        maps = {Product.LABELS: self._selected(labels)}
        if Product.CONFIDENCE in self.wanted:
            sure = _sureness(self.selection, maps[Product.LABELS], self.total)
            maps[Product.CONFIDENCE] = self._share(sure)
        if Product.PROBABILITIES in self.wanted:
            maps[Product.PROBABILITIES] = torch.stack([self._share(total) for total in self.total])
        if self.own is not None:
            maps[Product.DISAGREEMENT] = (self.own != labels).sum(0, dtype=torch.uint8)
        return {product: values.cpu().numpy() for product, values in maps.items()}

    def _selected(self, labels: Tensor) -> Tensor:
        if self.selection is None or self.total is None:
            return labels
        asked = self.selection.asks_confidence
        sure = self.total.amax(dim=0).float() / (3 * self.STEPS) if asked else None
        return self.selection.apply(labels, sure)

    def _share(self, total: Tensor) -> Tensor:
        return _as_bytes(total.float() / (3 * self.STEPS))


def _sureness(selection: Selection | None, labels: Tensor, probabilities: Tensor) -> Tensor:
    return probabilities.amax(dim=0) if selection is None else selection.sureness(labels, probabilities)


def _as_bytes(probabilities: Tensor) -> Tensor:
    # Sums of several classes may be rounded to a little more than 1.
    return (probabilities * 255).round().clamp_(max=255).to(torch.uint8)
