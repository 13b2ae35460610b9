"""Start SAM's image encoder from a masked autoencoder's ViT, as SAM itself was started."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import check_layout
from scsam_monai.networks.mae import MAE_ENCODERS, PIXEL_MEAN, PIXEL_STD, MAEEncoder
from scsam_monai.networks.sam_encoder import PIXEL_MEAN as SAM_MEAN
from scsam_monai.networks.sam_encoder import PIXEL_STD as SAM_STD
from scsam_monai.networks.sam_encoder import SAM_ENCODERS, SAMImageEncoder
from scsam_monai.weights.named import read_weights

_BLOCK_NAMES = (("mlp.fc1.", "mlp.lin1."), ("mlp.fc2.", "mlp.lin2."))


def load_mae_into_sam(encoder: SAMImageEncoder, weights: str | Path) -> None:
    """Copy patch embedding, positions and blocks of an MAE's ViT of the same width and depth.

    What the MAE does not have keeps its initial values: relative positions (zero) and the neck.

    Args:
        encoder: receives the weights.
        weights: a name in the registry, or a state dict of the MAE's ViT.

    Raises:
        InputError: if no MAE has the encoder's shape, or the weights are not that MAE's.
    """
    # Shipped weights are in half precision, which positions cannot be interpolated in on every device.
    state = {key: value.float() for key, value in read_weights(weights).items()}
    check_layout(weights, state, MAEEncoder(_twin(encoder.name)).vit.state_dict())
    encoder.load_state_dict(sam_names(state, encoder.state_dict()))


def sam_names(vit: Mapping[str, Tensor], sam: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return ``sam``'s state with everything replaced that ``vit``, a timm ViT on one channel, has.

    Args:
        vit: state dict of the MAE's ViT.
        sam: state dict of an image encoder of SAM's.
    """
    blocks = {_block_name(key): value for key, value in vit.items() if key.startswith("blocks.")}
    kernel, bias = _patch_embedding(vit["patch_embed.proj.weight"], vit["patch_embed.proj.bias"])
    height, width = sam["pos_embed"].shape[1:3]
    return {
        **sam,
        **blocks,
        "patch_embed.proj.weight": kernel,
        "patch_embed.proj.bias": bias,
        "pos_embed": _positions(vit["pos_embed"], height, width),
    }


def _twin(name: str) -> str:
    """Name of the MAE with the shape of a SAM encoder."""
    sam = SAM_ENCODERS[name]
    for mae, shape in MAE_ENCODERS.items():
        if (shape.width, shape.depth, shape.heads) == (sam.width, sam.depth, sam.heads):
            return mae
    raise InputError(
        "encoder_init",
        expected="a SAM encoder of the shape of " + ", ".join(MAE_ENCODERS),
        met=name,
        remedy="set encoder_init to null",
    )


def _block_name(key: str) -> str:
    for timm_name, sam_name in _BLOCK_NAMES:
        key = key.replace(timm_name, sam_name)
    return key


def _patch_embedding(kernel: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Spread a kernel over three channels so that a grey image gives what it gave, each network normalised its way.

    The MAE sees ``(x - mean) / std`` of an image in [0, 1], SAM ``(255 x - mean_c) / std_c`` in each of the three
    equal channels; each carries a third of the slope, and the bias takes up what the offsets differ by.
    """
    mean, std = torch.tensor(SAM_MEAN), torch.tensor(SAM_STD)
    shares = std / (3 * 255 * PIXEL_STD)
    spread = kernel * shares.view(1, 3, 1, 1)
    offset = (shares * mean / std).sum() - PIXEL_MEAN / PIXEL_STD
    return spread, bias + kernel.sum(dim=(1, 2, 3)) * offset


def _positions(table: Tensor, height: int, width: int) -> Tensor:
    """Drop the class token and bring ``(1, 1 + n * n, C)`` to ``(1, height, width, C)``."""
    places = table[:, 1:]
    side = round(places.shape[1] ** 0.5)
    grid = places.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    larger = F.interpolate(grid, (height, width), mode="bicubic", align_corners=False)
    return larger.permute(0, 2, 3, 1).contiguous()
