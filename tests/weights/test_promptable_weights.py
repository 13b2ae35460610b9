"""The promptable SAM's file is SAM's, and it can start from a masked autoencoder."""

from __future__ import annotations

import pytest
import torch
from registered import register
from safetensors.torch import save, save_file
from timm.models.vision_transformer import VisionTransformer

from scsam_monai.errors import InputError
from scsam_monai.networks.mae import PIXEL_MEAN, PIXEL_STD, MAEEncoder
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.networks.sam_encoder import SAMImageEncoder
from scsam_monai.weights.build import build_scsam
from scsam_monai.weights.pretrained import build_promptable_sam, load_mae_into_sam


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    torch.manual_seed(0)
    vit = MAEEncoder("mae_tiny").vit.eval()
    for value in vit.parameters():
        torch.nn.init.normal_(value, std=0.05)
    return vit


@pytest.fixture
def mae_file(vit, tmp_path):
    save_file(vit.state_dict(), tmp_path / "mae.safetensors")
    return tmp_path / "mae.safetensors"


def test_metas_layout_goes_in_and_out(stock_file, stock_state):
    network = build_promptable_sam("vit_t", weights=stock_file)
    state = network.state_dict()
    assert state.keys() == stock_state.keys() - {"pixel_mean", "pixel_std"}
    assert all(torch.equal(value, stock_state[key]) for key, value in state.items())


def test_shipped_names_will_do(tmp_path, monkeypatch, vit):
    """In half precision, and a SAM in two files."""
    state = {key: value.half() for key, value in PromptableSAM("vit_t").state_dict().items()}
    shares = ({}, {})
    for key, value in state.items():
        shares[not key.startswith("image_encoder.")][key] = value
    contents = {f"{number}.safetensors": save(share) for number, share in enumerate(shares)}
    register(monkeypatch, "small_sam", contents)
    mae = {"mae.safetensors": save({key: value.half() for key, value in vit.state_dict().items()})}
    register(monkeypatch, "small_mae", mae, kind="mae")
    monkeypatch.setenv("SCSAM_WEIGHTS_DIR", str(tmp_path))
    for name, content in (contents | mae).items():
        (tmp_path / name).write_bytes(content)
    network = build_promptable_sam("vit_t", weights="small_sam")
    assert all(torch.equal(value, state[key].float()) for key, value in network.state_dict().items())
    started = build_promptable_sam("vit_t", encoder_init="small_mae").image_encoder
    torch.testing.assert_close(
        started.blocks[0].mlp.lin1.weight, vit.blocks[0].mlp.fc1.weight, atol=1e-3, rtol=0
    )


def test_scsam_starts_from_it(tmp_path):
    sam = PromptableSAM("vit_t")
    save_file(sam.state_dict(), tmp_path / "sam.safetensors")
    scsam = build_scsam(3, sam_weights=tmp_path / "sam.safetensors", warn_untrained=False)
    assert scsam.sam_encoder.frozen
    for mine, theirs in (
        (sam.image_encoder, scsam.sam_encoder),
        (sam.mask_decoder, scsam.mask_decoder.sam),
        (sam.prompt_encoder.pe_layer, scsam.prompt_encoder.position),
    ):
        assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in mine.state_dict().items())


@torch.no_grad()
def test_patches_of_a_grey_image_give_what_they_gave(vit, mae_file):
    encoder = SAMImageEncoder("vit_t")
    load_mae_into_sam(encoder, mae_file)
    image = torch.rand(2, 1, 64, 96)
    pixels = (image * 255.0 - encoder.pixel_mean) / encoder.pixel_std
    before = vit.patch_embed.proj((image - PIXEL_MEAN) / PIXEL_STD).permute(0, 2, 3, 1)
    torch.testing.assert_close(encoder.patch_embed(pixels), before, atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("index", [1, 2])
def test_blocks_without_class_token_give_what_they_gave(vit, mae_file, index):
    """One with windows, filled by the grid, and one with global attention."""
    encoder = SAMImageEncoder("vit_t")
    load_mae_into_sam(encoder, mae_file)
    tokens = torch.randn(2, 16, 16, 192)
    expected = vit.blocks[index](tokens.flatten(1, 2)).unflatten(1, (16, 16))
    torch.testing.assert_close(encoder.blocks[index](tokens), expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_positions_keep_their_places(vit, mae_file):
    encoder = SAMImageEncoder("vit_t")
    load_mae_into_sam(encoder, mae_file)
    grid = vit.pos_embed[:, 1:].unflatten(1, (8, 8)).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.avg_pool2d(encoder.pos_embed.permute(0, 3, 1, 2), 4)
    assert torch.corrcoef(torch.stack([pooled.flatten(), grid.flatten()]))[0, 1] > 0.95


def test_what_the_mae_does_not_have_is_left_alone(mae_file):
    encoder = SAMImageEncoder("vit_t")
    neck = {key: value.clone() for key, value in encoder.neck.state_dict().items()}
    load_mae_into_sam(encoder, mae_file)
    assert all(torch.equal(value, neck[key]) for key, value in encoder.neck.state_dict().items())
    assert not encoder.blocks[0].attn.rel_pos_h.any()


def test_an_mae_of_another_shape_is_refused(tmp_path):
    small = MAEEncoder("mae_small").vit.state_dict()
    save_file(small, tmp_path / "small.safetensors")
    with pytest.raises(InputError, match="of another shape"):
        build_promptable_sam("vit_t", encoder_init=tmp_path / "small.safetensors")


def test_no_mae_fits_the_huge_encoder(tmp_path, mae_file):
    class Huge:
        name = "vit_h"

    with pytest.raises(InputError, match="encoder_init: expected a SAM encoder of the shape of mae_tiny"):
        load_mae_into_sam(Huge(), mae_file)
