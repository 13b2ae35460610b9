"""Feature maps at several strides from a pre-trained network of timm's: fine detail and wide context."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai._torchvision import without_compiler
from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import Freezable, check_layout

with without_compiler():
    import timm
    from timm.models import EfficientNetFeatures
    from timm.models._features import FeatureGetterNet, FeatureListNet

PYRAMID = "tf_efficientnet_lite0"
FINEST = 2
"""Least stride of a map: finer ones hold much and say little."""
BUILD_ERRORS = (RuntimeError, TypeError, AttributeError, AssertionError, LookupError, ValueError)
"""What timm's models raise when they cannot be what is asked."""


class PyramidEncoder(Freezable):
    """Any timm network that returns feature maps, on grey images of any size.

    The default, EfficientNet-Lite0 (Tan and Le, ICML 2019), gives 16, 24, 40, 112 and 320 channels at strides 2, 4,
    8, 16 and 32. Vision transformers work too; all their maps have the stride of their patches.

    Args:
        name: a model of timm's, with its tag where there are several sets of weights: ``tf_efficientnet_lite0``,
            ``convnext_tiny.dinov3_lvd1689m``. It tells the normalisation, too.
        out_indices: which of the model's maps to return, the finest is 0; None for all. What comes after the last
            of them is not computed.
        zoom: factor by which the image is enlarged first, at its square in cost. Maps finer than every second pixel
            are then left out. Networks pre-trained on photographs know small structures of micrographs better so:
            what is a whole organelle here would be a speck there.

    Attributes:
        strides: pixels of the image to a position, of each map.
        widths: channels of each map.

    Raises:
        InputError: if timm has no such model, or it gives no feature maps, or has none of that index.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.pyramid import PyramidEncoder
        >>> pyramid = PyramidEncoder("tf_efficientnet_lite0", out_indices=(0, 3))
        >>> pyramid.strides, pyramid.widths
        ((2, 16), (16, 112))
        >>> [tuple(features.shape) for features in pyramid(torch.rand(1, 1, 100, 70))]
        [(1, 16, 50, 35), (1, 112, 7, 5)]
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self, name: str = PYRAMID, out_indices: Sequence[int] | None = None, *, zoom: int = 1
    ) -> None:
        super().__init__()
        self.name, self.zoom = name, zoom
        self._out_indices = out_indices
        self.model = _feature_model(name, out_indices)
        info: Any = self.model.feature_info
        reductions, channels = tuple(info.reduction()), tuple(info.channels())
        self._multiple = math.lcm(*reductions)
        fits = [zoom == 1 or (stride >= FINEST * zoom and not stride % zoom) for stride in reductions]
        self._kept = [index for index, fit in enumerate(fits) if fit]
        if not self._kept:
            raise InputError(
                f"pyramid {name}",
                expected=f"maps of stride {FINEST * zoom} or more",
                met=", ".join(map(str, reductions)),
                remedy="choose another one, or a smaller zoom",
            )
        self.strides: tuple[int, ...] = tuple(reductions[i] // zoom for i in self._kept)
        self.widths: tuple[int, ...] = tuple(channels[i] for i in self._kept)
        self.channels_last = getattr(self.model, "output_fmt", None) == "NHWC"
        cfg: Any = timm.get_pretrained_cfg(name)
        # Not persistent: the state dict is timm's.
        self.register_buffer("pixel_mean", torch.tensor(cfg.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("pixel_std", torch.tensor(cfg.std).view(3, 1, 1), persistent=False)

    def load_timm(self, where: str | Path, state: Mapping[str, Tensor]) -> None:
        """Take the weights of timm's whole model, or of this one; what comes after the last map is left alone.

        Args:
            where: the weights' file or name, for the error.
            state: a state dict as timm's ``create_model(name).state_dict()``.

        Raises:
            InputError: if a weight is missing or of another shape.
        """
        remedy = f"use weights of timm's {self.name}"
        own = self.model.state_dict()
        if isinstance(self.model, FeatureListNet | FeatureGetterNet) and not own.keys() <= state.keys():
            whole = timm.create_model(self.name, num_classes=0).state_dict()
            known = {key: value for key, value in state.items() if key in whole}
            check_layout(where, known, whole, remedy)
            # These rename what they wrap: timm loads first and wraps after.
            state = _feature_model(self.name, self._out_indices, known).state_dict()
        known = {key: value for key, value in state.items() if key in own}
        check_layout(where, known, own, remedy)
        self.model.load_state_dict(known)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return one map for each of ``strides``, ``(B, width, ceil(H / stride), ceil(W / stride))``.

        Args:
            image: ``(B, 1, H, W)`` in [0, 1], any H and W.
        """
        H, W = image.shape[-2:]
        if self.zoom > 1:
            image = F.interpolate(image, scale_factor=self.zoom, mode="bilinear", align_corners=False)
        normalised = (_padded(image, self._multiple) - self.pixel_mean) / self.pixel_std
        # Channels last spare an eighth of the time on a CPU.
        found = self.model(normalised.contiguous(memory_format=torch.channels_last))
        maps = [found[i] for i in self._kept]
        if self.channels_last:
            maps = [features.permute(0, 3, 1, 2) for features in maps]
        return tuple(
            features[..., : math.ceil(H / stride), : math.ceil(W / stride)]
            for features, stride in zip(maps, self.strides, strict=True)
        )


def is_timms(name: str) -> bool:
    """Whether timm has a model of that name, and weights of its tag if there is one."""
    try:
        cfg: Any = timm.get_pretrained_cfg(name)
    except RuntimeError:
        return False
    return cfg is not None and timm.is_model(cfg.architecture or "")


def _feature_model(
    name: str, out_indices: Sequence[int] | None, state: Mapping[str, Tensor] | None = None
) -> nn.Module:
    """Return timm's model, with the weights of a whole one or without, cut after the last map that is used."""
    if not is_timms(name):
        raise _unknown(name)
    cfg: Any = timm.get_pretrained_cfg(name)
    arguments: dict[str, Any] = {} if out_indices is None else {"out_indices": tuple(out_indices)}
    if cfg.fixed_input_size:
        arguments["dynamic_img_size"] = True
    if state is not None:
        arguments |= {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(state)}}
    try:
        model = timm.create_model(name, features_only=True, **arguments)
    except BUILD_ERRORS as error:
        maps = "" if out_indices is None else f", with maps {tuple(out_indices)}"
        raise InputError(
            f"pyramid {name}",
            expected=f"a model that gives feature maps of images of any size{maps}",
            met=f"{type(error).__name__} ({str(error)[:200]})",
            remedy="choose another one",
        ) from error
    if isinstance(model, EfficientNetFeatures):
        blocks: Any = model.blocks
        last = max(int(module.split(".")[1]) for module in model.feature_info.module_name())
        model.blocks = blocks[: last + 1]
    network: nn.Module = model
    return network


def _unknown(name: str) -> InputError:
    architecture = name.partition(".")[0]
    close = timm.list_models(f"*{architecture[:6]}*")[:3] or [PYRAMID]
    return InputError(
        "pyramid",
        expected=f"a model of timm's, as {', '.join(close)}",
        met=repr(name),
        remedy="timm.list_models() lists them",
    )


def _padded(image: Tensor, multiple: int) -> Tensor:
    below, right = (-side % multiple for side in image.shape[-2:])
    return F.pad(image, (0, right, 0, below), mode="replicate") if below or right else image
