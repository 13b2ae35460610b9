"""A network's logits for classes in another order, as those of somebody's data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from scsam_monai.errors import InputError


class Renamed(nn.Module):
    """Gives the logits of a network in the order of other classes, by their names.

    Classes that only the network knows count as background, the first class; those that it does not know are never
    found. Where windows are blended or logits resampled afterwards, single pixels at borders of such classes are
    not those of renamed labels: a mean of maxima is not the maximum of means.

    Args:
        network: from images (B, 1, H, W) to logits of its own classes.
        names: its classes.
        wanted: classes of the logits that are returned.

    Raises:
        InputError: at the first image, if the network has another number of classes.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], wanted: Sequence[str]) -> None:
        super().__init__()
        self.network: Any = network
        self.names = tuple(names)
        others = [index for index, name in enumerate(names) if name not in wanted[1:]]
        self.sources = [
            others,
            *([index for index, own in enumerate(names) if own == name] for name in wanted[1:]),
        ]

    @property
    def pixel_size_nm(self) -> Any:
        """That of the network."""
        return self.network.pixel_size_nm

    def forward(self, image: Tensor) -> Tensor:
        """Return logits (B, K', H, W)."""
        logits = self.network(image)
        if logits.shape[1] != len(self.names):
            met, remedy = f"{logits.shape[1]}", "restore the record of the weights"
            raise InputError("class_names", expected=f"{len(self.names)} classes", met=met, remedy=remedy)
        never = logits.amin(dim=1) - 1
        return torch.stack([logits[:, each].amax(dim=1) if each else never for each in self.sources], dim=1)
