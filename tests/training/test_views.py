from __future__ import annotations

import pytest
import torch

from scsam_monai.training.views import N_VIEWS, apply_view


def test_views_are_eight_different_pictures() -> None:
    image = torch.arange(9.0).view(1, 3, 3)
    assert len({tuple(apply_view(image, view).flatten().tolist()) for view in range(N_VIEWS)}) == 8
    assert torch.equal(apply_view(image, 0), image)


def test_an_unknown_view_is_refused() -> None:
    with pytest.raises(ValueError, match="0 to 7"):
        apply_view(torch.zeros(2, 2), 8)
