"""Pre-trained weights into networks: Meta's SAM checkpoints, and masked autoencoders.

One SAM checkpoint holds the image encoder, the prompt encoder and the mask decoder. SAM's image encoder can also
start from a masked autoencoder's ViT, as SAM itself was started.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from segment_anything.modeling import PromptEncoder
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.errors import InputError, check_choice
from scsam_monai.networks.class_prompt import ClassPromptEncoder
from scsam_monai.networks.frozen_encoders import check_layout
from scsam_monai.networks.mae import MAE_ENCODERS, PIXEL_MEAN, PIXEL_STD, MAEEncoder, start_from_sincos
from scsam_monai.networks.mask_decoder import MASK_TOKEN, ClassMaskDecoder
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.networks.sam_encoder import PIXEL_MEAN as SAM_MEAN
from scsam_monai.networks.sam_encoder import PIXEL_STD as SAM_STD
from scsam_monai.networks.sam_encoder import SAM_ENCODERS, SAMImageEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.registry import Folders
from scsam_monai.weights.state_dicts import load_checked, read_weights

_BLOCK_NAMES = (("mlp.fc1.", "mlp.lin1."), ("mlp.fc2.", "mlp.lin2."))

_NEGATIVE, _POSITIVE = "point_embeddings.0", "point_embeddings.1"


def load_mae_into_sam(encoder: SAMImageEncoder, weights: str | Path) -> None:
    """Copy patch embedding, positions and blocks of an MAE's ViT of the same width and depth.

    What the MAE does not have keeps its initial values: relative positions (zero) and the neck.

    Args:
        encoder: receives the weights.
        weights: a name in the registry, or a state dict of the MAE's ViT.

    Raises:
        InputError: if no MAE has the encoder's shape, or the weights are not that MAE's.
    """
    # Weights may be in half precision, which positions cannot be interpolated in on every device.
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


def load_sam_checkpoint(
    network: ScSAM,
    weights: str | Path,
    search: Folders = None,
    *,
    decoder: bool = True,
    mask_token: int = MASK_TOKEN,
) -> None:
    """Start from SAM: its encoder, its mask decoder, and its embeddings for points and missing masks.

    Args:
        network: receives the weights; an encoder that the fusion does not use is left out.
        weights: a name in the registry, or a file in the layout of Meta's ``sam_vit_*.pth``.
        search: folders in which named weights are looked for first.
        decoder: whether the mask decoder starts from SAM's, too; it keeps its own weights otherwise.
        mask_token: which of SAM's four answers the classes are drawn with: 0, meant for prompts that leave no
            doubt, or 1 to 3, meant for single points.

    Raises:
        InputError: if a file is missing or unreadable, any key or shape differs from that layout, or there is no
            such answer.
    """
    check_choice("sam_token", mask_token, range(network.mask_decoder.sam.num_mask_tokens))
    state = read_weights(weights, search)
    encoder = network.sam_encoder
    # Without an encoder there is nothing to compare its share of the file with.
    expected_encoder = encoder.state_dict() if encoder is not None else _part(state, "image_encoder")
    expected = {
        **_prefixed("image_encoder", expected_encoder),
        **_prefixed("prompt_encoder", _stock_prompt_encoder().state_dict()),
        **_prefixed("mask_decoder", network.mask_decoder.sam.state_dict()),
    }
    check_layout(weights, state, expected)
    if encoder is not None:
        _load_encoder(encoder, state)
    if decoder:
        _load_decoder(network.mask_decoder, state, mask_token)
    _load_prompt_embeddings(network.prompt_encoder, _part(state, "prompt_encoder"))


def _load_encoder(encoder: SAMImageEncoder, state: Mapping[str, Tensor]) -> None:
    encoder.load_state_dict(_part(state, "image_encoder"))


def _load_decoder(decoder: ClassMaskDecoder, state: Mapping[str, Tensor], mask_token: int) -> None:
    sam = decoder.sam
    sam.load_state_dict(_part(state, "mask_decoder"))
    tokens, heads = sam.mask_tokens.weight.data, sam.output_hypernetworks_mlps
    tokens[MASK_TOKEN] = tokens[mask_token]
    heads[MASK_TOKEN].load_state_dict(heads[mask_token].state_dict())


def _load_prompt_embeddings(prompts: ClassPromptEncoder, state: Mapping[str, Tensor]) -> None:
    prompts.position.load_state_dict(_part(state, "pe_layer"))
    prompts.no_mask_embed.load_state_dict(_part(state, "no_mask_embed"))
    if prompts.anchors is not None:
        prompts.anchors.positive_embed.load_state_dict(_part(state, _POSITIVE))
        if prompts.anchors.negative_embed is not None:
            prompts.anchors.negative_embed.load_state_dict(_part(state, _NEGATIVE))


def _stock_prompt_encoder() -> PromptEncoder:
    return PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )


def _part(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}


def _prefixed(name: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in state.items()}


def build_mae_encoder(name: str = "mae_base", *, weights: str | Path | None = None) -> MAEEncoder:
    """Return an encoder with its weights in place.

    Args:
        name: one of ``mae_tiny``, ``mae_small``, ``mae_base``.
        weights: a name in the registry, or a state dict of the ViT; None starts from random weights and
            sine-cosine positions.

    Raises:
        InputError: if the name is unknown, or weights are missing or of another encoder.
    """
    encoder = MAEEncoder(name)
    if weights is None:
        start_from_sincos(encoder)
    else:
        load_checked(encoder.vit, weights, read_weights(weights))
    return encoder


def build_promptable_sam(
    sam: str = "vit_t",
    *,
    weights: str | Path | None = None,
    encoder_init: str | Path | None = None,
    chunk: int = 8,
) -> PromptableSAM:
    """Return a promptable SAM with its weights in place.

    Args:
        sam: image encoder, such as ``vit_t``.
        weights: a name in the registry, or a file in the layout of Meta's ``sam_vit_*.pth``; None starts from
            random weights.
        encoder_init: a name in the registry, or a state dict, of a masked autoencoder's ViT that the image encoder
            starts from.
        chunk: prompts decoded at once on a CPU.

    Raises:
        InputError: if weights are missing or do not fit the architecture.
    """
    network = PromptableSAM(sam, chunk=chunk)
    if encoder_init is not None:
        load_mae_into_sam(network.image_encoder, encoder_init)
    if weights is not None:
        load_checked(network, weights, read_weights(weights))
    return network
