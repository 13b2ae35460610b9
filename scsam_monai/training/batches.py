"""How a batch of crops becomes the arguments of a training step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def prepare_batch(
    batch: Mapping[str, Tensor],
    device: str | torch.device | None = None,
    non_blocking: bool = False,
    **kwargs: Any,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Move a batch of ``BalancedCropDataset`` to the device, for MONAI's ``SupervisedTrainer``.

    Args:
        batch: ``image`` (B, 1, H, W), ``label`` (B, 1, H, W) and ``annotated`` (B, K').
        device: where to.
        non_blocking: passed to ``Tensor.to``.
        kwargs: passed to ``Tensor.to`` for the image.

    Returns:
        The image, and ``label`` and ``annotated`` as the losses take them.
    """
    image = batch["image"].to(device, non_blocking=non_blocking, **kwargs)
    target = {name: batch[name].to(device, non_blocking=non_blocking) for name in ("label", "annotated")}
    return image, target
