from __future__ import annotations

import pytest
import torch
from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.networks.renamed import Renamed


def test_logits_are_told_by_names() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).view(1, 4, 1, 1)
    network = nn.Module()
    network.forward = lambda image: logits  # type: ignore[method-assign]
    renamed = Renamed(network, ["background", "golgi", "er", "granule"], ["background", "granule", "x", "er"])
    found = renamed(torch.zeros(1, 1, 1, 1)).flatten().tolist()
    assert found == [3.0, 2.0, -1.0, 1.0]  # Golgi counts as background, x is never found


def test_another_number_of_classes_is_refused() -> None:
    renamed = Renamed(nn.Conv2d(1, 3, 1), ["background", "granule"], ["background", "granule"])
    with pytest.raises(InputError, match="class_names: expected 2 classes, met 3"):
        renamed(torch.rand(2, 1, 4, 4))
