from __future__ import annotations

from pathlib import Path

import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import MaskedAutoencoder, sincos_positions
from scsam_monai.weights.mae_encoder import build_mae_encoder


def test_starts_at_random_without_weights(mae_file: Path) -> None:
    stored = torch.load(mae_file, weights_only=True)["patch_embed.proj.weight"]
    assert not torch.equal(build_mae_encoder("mae_tiny").vit.patch_embed.proj.weight, stored)


def test_goes_on_from_a_file(mae_file: Path) -> None:
    encoder = build_mae_encoder("mae_tiny", weights=mae_file)
    for key, value in torch.load(mae_file, weights_only=True).items():
        assert torch.equal(encoder.vit.state_dict()[key], value), key
    assert all(parameter.requires_grad for parameter in encoder.vit.blocks.parameters())


def test_masking_leaves_what_was_learned(mae_file: Path) -> None:
    network = MaskedAutoencoder(build_mae_encoder("mae_tiny", weights=mae_file))
    for key, value in torch.load(mae_file, weights_only=True).items():
        assert torch.equal(network.encoder.vit.state_dict()[key], value), key


def test_fresh_positions_are_sine_and_cosine() -> None:
    encoder = build_mae_encoder("mae_tiny")
    positions = sincos_positions(encoder.vit.patch_embed.grid_size, encoder.width)
    assert torch.equal(encoder.vit.pos_embed[:, 1:], positions)


def test_goes_on_from_a_name_in_full_precision(
    named: Path, mae_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCSAM_WEIGHTS_DIR", str(named))
    encoder = build_mae_encoder("mae_tiny", weights="mae")
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    for key, value in torch.load(mae_file, weights_only=True).items():
        assert torch.equal(encoder.vit.state_dict()[key], value.half().float()), key


def test_another_encoder_is_refused(mae_file: Path) -> None:
    with pytest.raises(InputError, match=r"mae_tiny\.pt: .*of another shape"):
        build_mae_encoder("mae_small", weights=mae_file)
