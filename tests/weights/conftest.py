"""Fixtures shared by the tests of weight files."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.sam_encoder import SAM_ENCODERS

from segment_anything.modeling import (  # isort: skip (torchvision must have been made importable)
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)


sys.path.insert(0, str(Path(__file__).parent))  # for the modules that tests share


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def stock_state() -> dict[str, Tensor]:
    """State dict of a stock SAM with an encoder of ``vit_t``'s shape."""
    torch.manual_seed(0)
    shape = SAM_ENCODERS["vit_t"]
    encoder = ImageEncoderViT(
        img_size=shape.image_size,
        embed_dim=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        out_chans=256,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        window_size=shape.window,
        global_attn_indexes=shape.global_blocks,
    )
    prompts = PromptEncoder(
        embed_dim=256, image_embedding_size=(32, 32), input_image_size=(512, 512), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8)
    return Sam(encoder, prompts, MaskDecoder(transformer_dim=256, transformer=transformer)).state_dict()


@pytest.fixture(scope="session")
def stock_file(stock_state: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "sam_vit_t.pth"
    torch.save(stock_state, path)
    return path


@pytest.fixture(scope="session")
def mae_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(2)
    path = tmp_path_factory.mktemp("weights") / "mae_tiny.pt"
    torch.save(MAEEncoder("mae_tiny").vit.state_dict(), path)
    return path


@pytest.fixture
def named(stock_state: dict[str, Tensor], mae_file: Path, tmp_path: Path, monkeypatch) -> Path:
    """A folder with ``sam`` in two files and ``mae``, in half precision as they are shipped."""
    half = {key: value.half() for key, value in stock_state.items()}
    shares = {
        "encoder.safetensors": {key: value for key, value in half.items() if key.startswith("image_encoder")},
        "prompts.safetensors": {
            key: value for key, value in half.items() if not key.startswith("image_encoder")
        },
    }
    mae = {key: value.half() for key, value in torch.load(mae_file, weights_only=True).items()}
    for name, share in {**shares, "mae.safetensors": mae}.items():
        save_file(share, tmp_path / name)
    from registered import register

    register(monkeypatch, "sam", {name: (tmp_path / name).read_bytes() for name in shares})
    register(monkeypatch, "mae", {"mae.safetensors": (tmp_path / "mae.safetensors").read_bytes()}, kind="mae")
    return tmp_path
