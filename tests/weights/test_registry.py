from __future__ import annotations

from pathlib import Path

import pytest
import timm

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import MAE_ENCODERS
from scsam_monai.networks.sam_encoder import SAM_ENCODERS
from scsam_monai.weights.registry import WEIGHTS, Weights, WeightsFile, find_weights

HEX = set("0123456789abcdef")


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_entries_are_whole(weights: Weights) -> None:
    architectures = {
        "sam": SAM_ENCODERS,
        "mae": MAE_ENCODERS,
        "pyramid": timm.list_models(),
        "recognition": timm.list_models(),
    }[weights.kind]
    assert weights.architecture in architectures
    assert weights.licence
    assert weights.description
    assert "\n" not in weights.description
    for file in weights.files:
        assert Path(file.name).name == file.name
        if file.url is not None:
            assert file.url.startswith("https://")
            assert file.url.endswith(f"/{file.name}")
            assert file.size is not None
        if file.sha256 is not None:
            assert len(file.sha256) == 64
            assert set(file.sha256) <= HEX


def test_names_of_files_are_not_shared() -> None:
    names = [file.name for weights in WEIGHTS.values() for file in weights.files]
    assert len(names) == len(set(names))


def test_shipped_weights_have_no_address_and_stay_small() -> None:
    shipped = [weights for weights in WEIGHTS.values() if weights.shipped]
    names = {"scsam_vit_t", "scsam_mae_tiny", "scsam_pyramid", "tf_efficientnet_lite0", "recognition"}
    assert {weights.name for weights in shipped} == names
    for file in (file for weights in shipped for file in weights.files):
        assert file.name.endswith(".safetensors")
        assert file.size is None or file.size <= 20_000_000


def test_size_is_that_of_all_files_or_unknown() -> None:
    def of(*sizes: int | None) -> int | None:
        files = tuple(WeightsFile(str(size), size, None) for size in sizes)
        return Weights("w", "sam", "vit_t", "", "", files).size

    assert (of(3), of(3, 4), of(3, None)) == (3, 7, None)


def test_unknown_names_are_answered_with_the_valid_ones() -> None:
    with pytest.raises(InputError, match=r"sam_vit_b, sam_vit_l, .*; did you mean sam_vit_b\?"):
        find_weights("sam_vitb")
    with pytest.raises(InputError, match="correct the name or the path"):
        find_weights("resnet")
