"""Meta's SAM checkpoints: one file holds the image encoder, the prompt encoder and the mask decoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import scsam_monai._torchvision  # noqa: F401  isort: skip
from segment_anything.modeling import PromptEncoder
from torch import Tensor

from scsam_monai.errors import check_choice
from scsam_monai.networks.class_prompt import ClassPromptEncoder
from scsam_monai.networks.frozen_encoders import check_layout
from scsam_monai.networks.mask_decoder import MASK_TOKEN, ClassMaskDecoder
from scsam_monai.networks.sam_encoder import SAMImageEncoder
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.weights.locate import Folders
from scsam_monai.weights.named import read_weights

_NEGATIVE, _POSITIVE = "point_embeddings.0", "point_embeddings.1"


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
