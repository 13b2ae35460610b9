"""From logits to a label map."""

from __future__ import annotations

import torch
from torch import Tensor


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


def _draw_highest(logits: Tensor, labels: Tensor) -> None:
    """Write the class of the highest of ``logits`` (K', ...) into ``labels`` (...), which are zero."""
    best = logits[0].clone()
    higher = torch.empty_like(labels, dtype=torch.bool)
    for index, logit in enumerate(logits[1:], start=1):
        torch.gt(logit, best, out=higher)
        labels.masked_fill_(higher, index)
        torch.maximum(best, logit, out=best)
