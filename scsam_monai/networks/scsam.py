"""ScSAM (Fang et al., ECAI 2025): encoders, fused, prompt SAM's mask decoder for every class."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from scsam_monai.errors import InputError
from scsam_monai.networks.class_prompt import ClassPromptEncoder
from scsam_monai.networks.fafm import Fused
from scsam_monai.networks.frozen_encoders import LightState, refreeze, refuse_other_encoders
from scsam_monai.networks.mae import DepthMixer, MAEEncoder
from scsam_monai.networks.mask_decoder import ClassMaskDecoder
from scsam_monai.networks.precision import mixed_precision
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.pyramid_skip import CoarseMixer, PyramidSkip
from scsam_monai.networks.sam_encoder import PATCH, SAMFeatures, SAMImageEncoder
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.networks.unet_skip import UNetSkip

MapSkip = PyramidSkip | UNetSkip
"""Skips that read the maps of the first further source."""


class Embeddings(NamedTuple):
    """The encoders' features of a crop, which can be cached if the encoders are frozen."""

    sam: SAMFeatures | None
    mae: tuple[Tensor, ...] | None
    """One map per depth; where the depths' weights are fixed, their mean alone will do."""
    grid: tuple[int, int]
    """Height and width of the SAM grid, g = encoder input / 16."""
    further: dict[str, tuple[Tensor, ...]] = {}  # noqa: RUF012 - never written to
    """The maps of each further source, on the crop's own pixels; empty ones where nothing reads them."""


class ScSAMOutput(NamedTuple):
    """Logits, and the inner results that the training losses need."""

    logits: Tensor
    """``(B, K', H, W)``."""
    similarity: Tensor
    """``(B, K', g, g)``, of the fused features to the class prototypes."""
    aligned: dict[str, Tensor]
    """``(B, 256, g, g)`` of each source, that to which the others are aligned first; none without alignment."""
    fused: Tensor
    """``(B, 256, g, g)``."""
    prototypes: Tensor
    """``(K', M, 256)``."""


class ScSAM(LightState):
    """Prompt-free semantic segmentation of grey electron micrographs.

    Args:
        sam_encoder: SAM's image encoder; None where the fusion does not use it.
        mae_encoder: the MAE's encoder; None where the fusion does not use it.
        depth_mixer: mixes the MAE's depths; None without MAE.
        fusion: aligns and fuses both embeddings.
        prompt_encoder: turns fused features into prompts of each class.
        mask_decoder: draws each class.
        skip: high-resolution skip; None to do without. A ``MapSkip`` reads the first further source.
        sources: further encoders by name; they see the crop at its own size.
        mixers: of those further sources that join the fusion, by name.
        zoom: factor by which the crop is enlarged before the encoders.
        mae_scale: size of the MAE's input relative to SAM's.
        amp: compute in bfloat16 where the device does so natively.

    Attributes:
        pixel_size_nm: scalar buffer, nm per pixel the network was trained at; NaN until set.
        recipe: the factory's arguments that built it, to be recorded beside its weights; empty if built by hand.

    Example:
        It is a plain :class:`torch.nn.Module`: any training loop will do, and any loss on its logits.

        >>> import torch
        >>> from scsam_monai import build_scsam
        >>> network = build_scsam(n_classes=3, sam_weights="scsam_vit_t", mae_weights="scsam_mae_tiny")
        >>> optimiser = torch.optim.AdamW(p for p in network.parameters() if p.requires_grad)
        >>> crops, labels = torch.rand(2, 1, 64, 64), torch.randint(3, (2, 64, 64))
        >>> loss = torch.nn.functional.cross_entropy(network.train()(crops).logits, labels)
        >>> loss.backward()
        >>> optimiser.step()
        >>> network.eval()(torch.rand(1, 1, 100, 80)).shape
        torch.Size([1, 3, 100, 80])
    """

    pixel_size_nm: Tensor

    def __init__(
        self,
        *,
        sam_encoder: SAMImageEncoder | None,
        mae_encoder: MAEEncoder | None,
        depth_mixer: DepthMixer | None,
        fusion: nn.Module,
        prompt_encoder: ClassPromptEncoder,
        mask_decoder: ClassMaskDecoder,
        skip: HighResolutionSkip | MapSkip | None = None,
        sources: Mapping[str, PyramidEncoder] | None = None,
        mixers: Mapping[str, CoarseMixer] | None = None,
        zoom: int = 1,
        mae_scale: float = 0.5,
        amp: bool = True,
    ) -> None:
        super().__init__(sources or {})
        self.sam_encoder = sam_encoder
        self.mae_encoder = mae_encoder
        self.depth_mixer = depth_mixer
        self.mixers = nn.ModuleDict(mixers or {})
        self.fusion = fusion
        self.prompt_encoder = prompt_encoder
        self.mask_decoder = mask_decoder
        self.skip = skip
        self.zoom, self.mae_scale, self.amp = zoom, mae_scale, amp
        self.n_classes = prompt_encoder.n_classes
        self.register_buffer("pixel_size_nm", torch.tensor(float("nan")))
        self.recipe: dict[str, Any] = {}
        self.missing_weights: tuple[str, ...] = ()
        self.register_load_state_dict_post_hook(_note_missing_weights)

    def forward(self, image: Tensor, embeddings: Embeddings | None = None) -> Tensor | ScSAMOutput:
        """Segment images.

        Args:
            image: ``(B, 1, H, W)`` float32 in [0, 1], any H and W.
            embeddings: what :meth:`encode` returns for ``image``, where that is known; None encodes.

        Returns:
            logits ``(B, K', H, W)`` in evaluation mode, :class:`ScSAMOutput` in training mode.

        Raises:
            InputError: if weights were loaded and some were missing, or belong to other encoders.
        """
        self._refuse_missing_weights()
        output = self.decode(self.encode(image) if embeddings is None else embeddings, image)
        return output if self.training else output.logits

    def encode(self, image: Tensor) -> Embeddings:
        """Return the encoders' embeddings of ``image (B, 1, H, W)``; always the same if they are frozen."""
        padded = self._pad(image)
        enlarged = self._enlarge(padded)
        grid = (enlarged.shape[-2] // PATCH, enlarged.shape[-1] // PATCH)
        with self._mixed_precision(image):
            sam = self.sam_encoder(enlarged) if self.sam_encoder is not None else None
            mae = self.mae_encoder(self._for_mae(enlarged)) if self.mae_encoder is not None else None
            further = {name: source(padded) for name, source in self.sources.items()}
        return Embeddings(sam, mae, grid, further)

    def fuse(self, image: Tensor, embeddings: Embeddings | None = None) -> Tensor:
        """Return the fused features ``(B, 256, g, g)`` of ``image (B, 1, H, W)``; arguments as in forward."""
        with self._mixed_precision(image):
            return self._fuse(self.encode(image) if embeddings is None else embeddings).features

    def decode(self, embeddings: Embeddings, image: Tensor) -> ScSAMOutput:
        """Compute logits from embeddings: fusion, prompts and mask decoder, all that trains on frozen encoders."""
        with self._mixed_precision(image):
            fused = self._fuse(embeddings)
            # The transformer goes by positions: so it need not copy, and norms over channels take one pass.
            fused = fused._replace(features=fused.features.contiguous(memory_format=torch.channels_last))
            prompts = self.prompt_encoder(fused.features)
            skip = self._skip(embeddings, image)
            masks = self.mask_decoder(fused.features, prompts, skip)
        logits = masks if skip is not None else self._to_native(masks, embeddings.grid)
        H, W = image.shape[-2:]
        return ScSAMOutput(
            logits=logits[..., :H, :W].float(),
            similarity=prompts.similarity,
            aligned=fused.aligned,
            fused=fused.features,
            prototypes=self.prompt_encoder.prototypes,
        )

    @torch.no_grad()
    def set_prototypes(self, prototypes: Tensor) -> None:
        """Replace the class prototypes ``(K', M, 256)``, as is done once at the start of training."""
        expected = self.prompt_encoder.prototypes.shape
        if prototypes.shape != expected:
            raise ValueError(f"prototypes: expected {tuple(expected)}, met {tuple(prototypes.shape)}")
        self.prompt_encoder.prototypes.copy_(prototypes)

    @torch.no_grad()
    def set_pixel_size(self, nm: float) -> None:
        """Record the nm per pixel that the network is trained at."""
        self.pixel_size_nm.fill_(nm)

    def in_single_precision(self) -> ScSAM:
        """Return a network over the same weights that never computes in bfloat16, as what is exported does."""
        precise = copy.copy(self)
        precise.amp = False
        return precise

    def requires_grad_(self, requires_grad: bool = True) -> ScSAM:
        """Switch gradients of the trainable parts; frozen parts and unused heads have none."""
        super().requires_grad_(requires_grad)
        self.mask_decoder.requires_grad_(requires_grad)
        refreeze(self)
        return self

    def _fuse(self, embeddings: Embeddings) -> Fused:
        maps: dict[str, Tensor] = {}
        if embeddings.sam is not None:
            maps["sam"] = embeddings.sam.embedding
        if self.depth_mixer is not None and embeddings.mae is not None:
            maps["mae"] = self.depth_mixer(embeddings.mae, embeddings.grid)
        for name, mixer in self.mixers.items():
            maps[name] = mixer(embeddings.further[name], embeddings.grid)
        fused: Fused = self.fusion(maps)
        return fused

    def _skip(self, embeddings: Embeddings, image: Tensor) -> Tensor | None:
        if self.skip is None:
            return None
        if isinstance(self.skip, MapSkip):
            first = next(iter(self.sources))
            return self.skip(self._pad(image), embeddings.further[first])
        early = embeddings.sam.early if embeddings.sam is not None else None
        return self.skip(self._pad(image), early)

    def _mixed_precision(self, image: Tensor) -> torch.autocast:
        return mixed_precision(image.device, self.amp)

    def _pad(self, image: Tensor) -> Tensor:
        """Pad right and below, so that the enlarged image is whole patches of both encoders."""
        patch = PATCH if self.mae_encoder is None else max(PATCH, round(PATCH / self.mae_scale))
        step = patch // self.zoom
        # Not under two patches, or the coarsest level of the skip is a single pixel and cannot be normalised.
        below, right = (max(-side % step, 2 * PATCH - side) for side in image.shape[-2:])
        if not below and not right:
            return image
        return F.pad(image, (0, right, 0, below), mode="replicate")

    def _enlarge(self, padded: Tensor) -> Tensor:
        if self.zoom == 1:
            return padded
        return F.interpolate(padded, scale_factor=self.zoom, mode="bilinear", align_corners=False)

    def _for_mae(self, enlarged: Tensor) -> Tensor:
        if self.mae_scale == 1:
            return enlarged
        return F.interpolate(enlarged, scale_factor=self.mae_scale, mode="area")

    def _to_native(self, masks: Tensor, grid: tuple[int, int]) -> Tensor:
        """Bring masks ``(B, K', 4g, 4g)`` to the padded image's own grid."""
        padded = (grid[0] * PATCH // self.zoom, grid[1] * PATCH // self.zoom)
        return F.interpolate(masks, padded, mode="bilinear", align_corners=False)

    def _refuse_missing_weights(self) -> None:
        refuse_other_encoders("network weights", self.other_encoders)
        if self.missing_weights:
            first = ", ".join(self.missing_weights[:3]) + (", ..." if len(self.missing_weights) > 3 else "")
            raise InputError(
                "network weights",
                expected="a checkpoint with every weight",
                met=f"{len(self.missing_weights)} missing ({first})",
                remedy="load a checkpoint of the same architecture and classes",
            )


def _note_missing_weights(network: ScSAM, incompatible: Any) -> None:
    """Remember what a load left out: a network that is partly random must not answer."""
    network.missing_weights = tuple(incompatible.missing_keys)
