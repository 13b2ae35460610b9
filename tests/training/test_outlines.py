"""Outlines and insides, and the layer that draws them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from scsam_monai.training.outlines import OutlineHelper, outlines_and_insides


def test_outlines_lie_where_the_object_changes():
    ids = np.zeros((6, 6), dtype=int)
    ids[2:4, 1:5], ids[4:, 1:5] = 3, 8
    outlines, insides = outlines_and_insides(ids).numpy()
    assert outlines[3, 2]  # between two objects
    assert outlines[1, 2]  # before an object
    assert outlines[2, 0]
    assert outlines[2, 4]
    assert not outlines[2, 2]
    assert not outlines[0, 0]
    assert np.array_equal(insides, ids > 0)


def test_a_perfect_drawing_costs_nothing_and_each_patch_draws_its_own_cells():
    helper = OutlineHelper(weight=1.0)
    regions = torch.zeros(1, 2, 32, 48, dtype=torch.uint8)
    regions[0, 0, 5, 20] = 1  # one outline pixel, patch (0, 1), cell (1, 1) of it
    regions[0, 1, 16:20, 0:4] = 1  # one cell inside, patch (1, 0), cell (0, 0) of it
    embedding = torch.zeros(1, 256, 2, 3)
    embedding[0, 0], embedding[0, 1, 0, 1], embedding[0, 2, 1, 0] = 1.0, 1.0, 1.0
    with torch.no_grad():
        helper.project.weight.zero_()
        helper.project.bias.zero_()
        helper.project.weight[:, 0] = -20.0
        helper.project.weight[1 * 4 + 1, 1] = 40.0
        helper.project.weight[16, 2] = 40.0
    assert helper(embedding, regions).item() == pytest.approx(0, abs=1e-6)
    assert helper(embedding.flip(2), regions).item() > 0.1


def test_the_weight_scales_the_loss():
    torch.manual_seed(0)
    embedding, regions = torch.randn(1, 256, 2, 2), torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    one, three = OutlineHelper(1.0), OutlineHelper(3.0)
    three.load_state_dict(one.state_dict())
    torch.testing.assert_close(three(embedding, regions), 3 * one(embedding, regions))
