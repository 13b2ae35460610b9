from __future__ import annotations

import pytest
import torch

from scsam_monai.networks.mae import MaskedPrediction, patchify
from scsam_monai.training.losses import ReconstructionLoss


def normalised(image):
    patches = patchify(image)
    return (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-4).sqrt()


def test_a_perfect_drawing_costs_nothing():
    image = torch.rand(2, 1, 32, 32)
    prediction = MaskedPrediction(normalised(image), torch.ones(2, 4))
    assert float(ReconstructionLoss()(prediction, image)) < 1e-10


def test_only_hidden_patches_count():
    image = torch.rand(1, 1, 32, 32)
    drawn = normalised(image)
    drawn[0, 0] += 3
    mask = torch.tensor([[0.0, 1, 1, 1]])
    loss = ReconstructionLoss()
    assert float(loss(MaskedPrediction(drawn, mask), image)) < 1e-10
    assert float(loss(MaskedPrediction(drawn, 1 - mask), image)) == pytest.approx(9, abs=1e-4)
    assert float(loss.terms["total"]) == pytest.approx(9, abs=1e-4)


def test_a_flat_patch_has_a_finite_target():
    loss = ReconstructionLoss()(
        MaskedPrediction(torch.zeros(1, 4, 256), torch.ones(1, 4)), torch.ones(1, 1, 32, 32)
    )
    assert float(loss) == 0


def test_pictures_show_what_was_seen_and_drawn():
    image = torch.rand(1, 1, 32, 32)
    mask = torch.tensor([[0.0, 1, 1, 1]])
    seen, drawn = ReconstructionLoss().picture(MaskedPrediction(normalised(image), mask), image)
    assert torch.equal(seen[..., :16, :16], image[..., :16, :16])
    assert (seen[..., 16:, :] == 0.5).all()
    torch.testing.assert_close(drawn, image)


def test_raw_pixels_can_be_the_target():
    image = torch.rand(1, 1, 32, 32)
    loss = ReconstructionLoss(normalise=False)
    prediction = MaskedPrediction(patchify(image), torch.ones(1, 4))
    assert float(loss(prediction, image)) == 0
    assert torch.equal(loss.picture(prediction, image)[1], image)
