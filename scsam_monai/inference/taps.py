"""Linear resampling of any part of an axis, as if the whole had been resampled."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

Span = tuple[int, int]
"""First pixel, and the one after the last."""


@dataclass(frozen=True)
class Taps:
    """For every output pixel of an axis the input pixels it is made of, and their weights.

    Sums run over the taps in a fixed order, one rounding per operation: a pixel comes out bit for bit the same
    whatever part of the axis is computed.

    Attributes:
        indices: (n_out, T), input pixels.
        weights: (n_out, T) float32, rows sum to 1.
    """

    indices: np.ndarray
    weights: np.ndarray

    @classmethod
    def linear(cls, n_in: int, n_out: int) -> Taps:
        """Return those of ``F.interpolate(mode="bilinear", antialias=True)``: low-pass where the axis shrinks."""
        scale = n_in / n_out
        reach = max(scale, 1.0)
        centres = scale * (np.arange(n_out) + 0.5)
        first = np.maximum((centres - reach + 0.5).astype(int), 0)
        last = np.minimum((centres + reach + 0.5).astype(int), n_in)
        indices = first[:, None] + np.arange(int((last - first).max()))
        distance = np.abs(indices - centres[:, None] + 0.5) / reach
        weights = np.clip(1 - distance, 0, None) * (indices < last[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        return cls(np.minimum(indices, n_in - 1), weights.astype(np.float32))

    def support(self, span: Span) -> Span:
        """Return the input pixels that the output pixels of ``span`` are made of."""
        used = self.indices[slice(*span)]
        return int(used.min()), int(used.max()) + 1

    def apply(self, part: Tensor, dim: int, start: int, span: Span) -> Tensor:
        """Compute the output pixels of ``span``.

        Args:
            part: any shape; along ``dim`` it holds at least the input pixels of :meth:`support`.
            dim: the axis.
            start: the input pixel that comes first in ``part``.
            span: output pixels.
        """
        rows = torch.from_numpy(self.indices[slice(*span)] - start).to(part.device)
        weights = torch.from_numpy(self.weights[slice(*span)]).to(part.device)
        shape = [1] * part.ndim
        shape[dim] = -1
        result = part.index_select(dim, rows[:, 0]).mul_(weights[:, 0].view(shape))
        for tap in range(1, rows.shape[1]):
            result += part.index_select(dim, rows[:, tap]).mul_(weights[:, tap].view(shape))
        return result
