from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.mae import MaskedAutoencoder, sincos_positions
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.pretrained import build_mae_encoder, load_sam_checkpoint

from segment_anything import sam_model_registry  # isort: skip (torchvision must have been made importable)

N_CLASSES = 3
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def network() -> ScSAM:
    torch.manual_seed(1)
    return compose_scsam(N_CLASSES, visible_tokens="all")


def assert_came_from(network: ScSAM, state: State) -> None:
    prompts = network.prompt_encoder
    loaded = {
        "prompt_encoder.no_mask_embed.weight": prompts.no_mask_embed.weight,
        "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (
            prompts.position.positional_encoding_gaussian_matrix
        ),
    }
    if prompts.anchors is not None:
        loaded["prompt_encoder.point_embeddings.1.weight"] = prompts.anchors.positive_embed.weight
        if prompts.anchors.negative_embed is not None:
            loaded["prompt_encoder.point_embeddings.0.weight"] = prompts.anchors.negative_embed.weight
    for prefix, module in (
        ("image_encoder", network.sam_encoder),
        ("mask_decoder", network.mask_decoder.sam),
    ):
        if module is not None:
            loaded |= {f"{prefix}.{key}": value for key, value in module.state_dict().items()}
    for key, value in loaded.items():
        assert torch.equal(value, state[key]), key


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_loads_metas_layout(stock_state: State, suffix: str, tmp_path: Path) -> None:
    network, path = compose_scsam(N_CLASSES, visible_tokens="all"), tmp_path / f"sam.{suffix}"
    save_file(stock_state, path) if suffix == "safetensors" else torch.save(stock_state, path)
    load_sam_checkpoint(network, path)
    assert_came_from(network, stock_state)


@pytest.mark.parametrize("switches", [{"fusion": "mae"}, {"tokens": 0}, {"visible_tokens": "own"}], ids=str)
def test_loads_what_an_ablation_has(
    stock_state: State, stock_file: Path, switches: dict[str, object]
) -> None:
    network = compose_scsam(N_CLASSES, **switches)
    load_sam_checkpoint(network, stock_file)
    assert_came_from(network, stock_state)


def test_the_decoder_may_start_by_itself(stock_state: State, stock_file: Path) -> None:
    network = compose_scsam(N_CLASSES)
    before = {key: value.clone() for key, value in network.mask_decoder.state_dict().items()}
    load_sam_checkpoint(network, stock_file, decoder=False)
    assert all(torch.equal(value, before[key]) for key, value in network.mask_decoder.state_dict().items())
    assert torch.equal(
        network.prompt_encoder.no_mask_embed.weight, stock_state["prompt_encoder.no_mask_embed.weight"]
    )


def test_the_decoder_may_start_from_another_answer(stock_state: State, stock_file: Path) -> None:
    network = compose_scsam(N_CLASSES)
    load_sam_checkpoint(network, stock_file, mask_token=2)
    sam = network.mask_decoder.sam
    assert torch.equal(sam.mask_tokens.weight[0], stock_state["mask_decoder.mask_tokens.weight"][2])
    for key, value in sam.output_hypernetworks_mlps[0].state_dict().items():
        assert torch.equal(value, stock_state[f"mask_decoder.output_hypernetworks_mlps.2.{key}"])
    with pytest.raises(InputError, match="sam_token: expected one of 0, 1, 2, 3, met 4"):
        load_sam_checkpoint(network, stock_file, mask_token=4)


def test_vit_b_file(tmp_path: Path, network: ScSAM) -> None:
    state, path = sam_model_registry["vit_b"]().state_dict(), tmp_path / "sam_vit_b.pth"
    torch.save(state, path)
    with pytest.raises(
        InputError, match=r"sam_vit_b\.pth: .*image_encoder\.pos_embed .*64, 768\) not .*192\)"
    ):
        load_sam_checkpoint(network, path)
    large = compose_scsam(N_CLASSES, sam="vit_b")
    load_sam_checkpoint(large, path)
    assert_came_from(large, state)


def without_a_key(state: State) -> None:
    del state["mask_decoder.iou_token.weight"]


def with_an_unknown_key(state: State) -> None:
    state["adapter.weight"] = torch.zeros(1)


def reshaped(state: State) -> None:
    state["prompt_encoder.no_mask_embed.weight"] = torch.zeros(1, 128)


def without_encoder(state: State) -> None:
    for key in [key for key in state if key.startswith("image_encoder")]:
        del state[key]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (without_a_key, r"met 1 missing \(mask_decoder\.iou_token\.weight\);"),
        (with_an_unknown_key, r"met 1 unknown \(adapter\.weight\);"),
        (
            reshaped,
            r"met 1 of another shape \(prompt_encoder\.no_mask_embed\.weight \(1, 128\) not \(1, 256\)\);",
        ),
        (without_encoder, r"missing \(image_encoder\.pos_embed, .*, \.\.\.\);"),
    ],
)
def test_refusal_names_the_keys_and_changes_nothing(
    stock_state: State, network: ScSAM, spoil: Callable[[State], None], message: str, tmp_path: Path
) -> None:
    state, path = dict(stock_state), tmp_path / "spoilt.pth"
    spoil(state)
    torch.save(state, path)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=message) as caught:
        load_sam_checkpoint(network, path)
    assert str(caught.value).startswith(f"{path}: expected ")
    assert "\n" not in str(caught.value)
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key]) or key == "pixel_size_nm", key


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
