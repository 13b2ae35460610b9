"""Imported before a network is built, makes a training compute in double precision, to take rounding out of it."""

from __future__ import annotations

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from monai.engines import Workflow
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from scsam_monai.training.crops import BalancedCropDataset

torch.set_default_dtype(torch.float64)
torch.Tensor.float = torch.Tensor.double

_encode, _read = PositionEmbeddingRandom._pe_encoding, BalancedCropDataset.read


def _encode_double(self: PositionEmbeddingRandom, coordinates: Tensor) -> Tensor:
    return _encode(self, coordinates.double())


def _read_double(self: BalancedCropDataset, *where: object) -> tuple[Tensor, Tensor]:
    image, label = _read(self, *where)
    return image.double(), label


PositionEmbeddingRandom._pe_encoding = _encode_double
BalancedCropDataset.read = _read_double


class DoubleLoss:
    """A handler that brings the weights of a loss to the precision of the network."""

    def __init__(self, loss: nn.Module) -> None:
        self.loss = loss

    def attach(self, engine: Workflow) -> None:
        self.loss.double()
