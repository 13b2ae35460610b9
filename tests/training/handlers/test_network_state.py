from __future__ import annotations

import torch

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import KEY
from scsam_monai.training.handlers.network_state import split_state


def test_frozen_encoders_are_told_apart_whether_left_out_or_not() -> None:
    torch.manual_seed(0)
    network = compose_scsam(3, preset="paper")
    network.sam_encoder.freeze()
    network.mae_encoder.freeze()
    whole = split_state(network)
    network.leave_out(["sam_encoder", "mae_encoder"])
    light = split_state(network)
    for before, after in zip(whole, light, strict=True):
        assert before.keys() == after.keys()
        same = before.keys() - {KEY, "pixel_size_nm"}
        assert all(torch.equal(before[key], after[key]) for key in same)
    assert {key.partition(".")[0] for key in light[1]} == {"sam_encoder", "mae_encoder"}
    assert KEY in light[0]
