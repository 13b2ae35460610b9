from __future__ import annotations

import pytest
import torch
from frozen_run import frozen_network

from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.pyramid import PYRAMID
from scsam_monai.training.cache import Recipe

PYRAMID_MAPS = tuple(f"pyramid.{i}" for i in range(4))


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ("sam", "early", "mae.0", "mae.1", "mae.2", "mae.3")),
        ({"pyramid": PYRAMID}, ("sam", "mae.0", "mae.1", "mae.2", "mae.3", *PYRAMID_MAPS)),
        ({"pyramid": PYRAMID, "mae": "none", "skip": False}, ("sam", "pyramid.3")),
        ({"pyramid": PYRAMID, "fusion": "pyramid", "zoom": 2}, (*PYRAMID_MAPS, "grid")),
        ({"pyramid": PYRAMID, "fusion": "sam"}, ("sam", *PYRAMID_MAPS)),
        ({"preset": "paper"}, ("sam", "mae.0", "mae.1", "mae.2", "mae.3")),
        ({"preset": "paper", "learned_depths": False}, ("sam", "mae")),
        ({"fusion": "sam"}, ("sam", "early")),
        ({"fusion": "mae", "learned_depths": False}, ("mae",)),
    ],
)
@torch.no_grad()
def test_only_what_is_read_is_kept(options: dict[str, object], names: tuple[str, ...]) -> None:
    """And the light modules draw the same from it, within half precision."""
    network = frozen_network(**options).eval()
    network.amp = False  # bfloat16 is coarser
    recipe = Recipe(network)
    image = torch.rand(2, 1, 48, 32)
    known = network.encode(image)
    maps = recipe.pack(known)
    assert recipe.names == tuple(maps) == names
    assert all(values.dtype == torch.float16 for name, values in maps.items() if name != "grid")
    again = recipe.unpack(maps)
    assert again.grid == known.grid
    torch.testing.assert_close(network(image, again), network(image), rtol=2e-2, atol=2e-3)


def test_the_key_tells_encoders_and_preprocessing_apart() -> None:
    keys = [
        Recipe(frozen_network(**options)).key  # type: ignore[arg-type]
        for options in (
            {},
            {"seed": 1},
            {"zoom": 2},
            {"mae_scale": 1.0},
            {"preset": "paper"},
            {"learned_depths": False},
            {"mae": "mae_small"},
            {"pyramid": PYRAMID},
            {"pyramid": "resnet10t"},
        )
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == Recipe(frozen_network(chunk=2)).key


def test_one_weight_of_one_encoder_changes_the_key() -> None:
    network = frozen_network()
    before = Recipe(network).key
    assert isinstance(network.mae_encoder, MAEEncoder)
    with torch.no_grad():
        network.mae_encoder.vit.blocks[-1].mlp.fc2.bias[-1] += 1e-3
    assert Recipe(network).key != before


def test_what_trains_does_not_change_the_key() -> None:
    network = frozen_network()
    before = Recipe(network).key
    with torch.no_grad():
        network.prompt_encoder.prototypes.zero_()
    assert Recipe(network).key == before


def test_values_beyond_half_precision_stay_finite() -> None:
    network = frozen_network()
    known = network.encode(torch.rand(1, 1, 32, 32))
    assert known.sam is not None
    huge = known._replace(sam=known.sam._replace(embedding=known.sam.embedding * 1e8))
    assert Recipe(network).pack(huge)["sam"].isfinite().all()
