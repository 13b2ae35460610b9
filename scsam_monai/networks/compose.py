"""Compose a ScSAM from names and switches, with fresh weights; on request its encoders' blocks are compiled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from scsam_monai.errors import InputError, check_choice
from scsam_monai.networks.class_prompt import ClassPromptEncoder
from scsam_monai.networks.fafm import (
    SOURCES,
    AddFusion,
    ConcatFusion,
    FeatureAlignmentFusion,
    Fusion,
    SingleEncoder,
)
from scsam_monai.networks.mae import DepthMixer, MAEEncoder
from scsam_monai.networks.mask_decoder import ClassMaskDecoder
from scsam_monai.networks.pyramid import PyramidEncoder
from scsam_monai.networks.pyramid_skip import FINE, CoarseMixer, PyramidSkip
from scsam_monai.networks.sam_encoder import SAMImageEncoder
from scsam_monai.networks.scsam import MapSkip, ScSAM
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.networks.unet_skip import UNetSkip

PYRAMID_SOURCE = "pyramid"
NONE = "none"
"""Stands for an encoder that is left out."""
ZOOMS = (1, 2, 4)
MAE_SCALES = (1.0, 0.5, 0.25)
SKIP_DECODERS: dict[str, type[PyramidSkip] | type[UNetSkip]] = {"unet": UNetSkip, "light": PyramidSkip}
"""What the high-resolution skip makes of a pyramid's maps."""

FUSIONS: dict[str, Callable[[Sequence[str], int], Fusion]] = {
    "fafm": FeatureAlignmentFusion,
    "add": lambda sources, channels: AddFusion(sources),
    "concat": ConcatFusion,
}
"""How each fusion is made, for the names of its sources and a number of channels."""


def build_fusion(name: str, sources: Sequence[str] = SOURCES, channels: int = 256) -> Fusion:
    """Return the fusion of that name.

    Args:
        name: one of ``FUSIONS``, or one of ``sources`` to use it alone.
        sources: names of the sources there are, that to which the others are aligned first.
        channels: channels of every source's map.

    Raises:
        InputError: if there is no such fusion.
    """
    check_choice("fusion", name, (*FUSIONS, *sources))
    return SingleEncoder(name, channels) if name in sources else FUSIONS[name](sources, channels)


def compile_encoders(network: nn.Module) -> None:
    """Have the transformer blocks of the encoders in ``network`` compiled at their first call.

    Blocks share their code, so a few compilations serve all; every new size of input compiles again. The names in
    the state dict stay. A network so prepared needs a C++ compiler where it runs; ``torch.jit.trace`` refuses it.

    Args:
        network: what holds SAM's or the MAE's encoder, or is one; changed in place.
    """
    for block in _blocks(network):
        block.compile(dynamic=False)  # code for any size takes far longer to make, and is slower


def _blocks(network: nn.Module) -> Iterator[nn.Module]:
    for part in network.modules():
        if isinstance(part, SAMImageEncoder):
            yield from part.blocks
        elif isinstance(part, MAEEncoder):
            yield from part.vit.blocks


@dataclass(frozen=True)
class Preset:
    """The switches that a preset sets; each can also be set by itself."""

    skip: bool


PRESETS = {
    "paper": Preset(skip=False),
    "plus": Preset(skip=True),
}


def compose_scsam(
    n_classes: int,
    *,
    preset: str = "plus",
    sam: str = "vit_t",
    mae: str = "mae_tiny",
    pyramid: str = NONE,
    pyramid_zoom: int = 2,
    zoom: int = 1,
    mae_scale: float = 0.5,
    fusion: str = "fafm",
    learned_depths: bool = True,
    prototypes: int = 4,
    tokens: int = 4,
    visible_tokens: str = "own",
    dense: bool = True,
    similarity: str = "cosine",
    skip: bool | None = None,
    skip_channels: int = 16,
    skip_decoder: str = "light",
    fine_prototypes: bool = True,
    chunk: int = 4,
    amp: bool = True,
    compile_blocks: bool = False,
) -> ScSAM:
    """Return a ScSAM with fresh weights.

    Args:
        n_classes: K', background included.
        preset: ``paper`` keeps to the published description, ``plus`` adds the high-resolution skip.
        sam: SAM encoder, ``vit_t``, ``vit_b``, ``vit_l`` or ``vit_h``; ``none`` to leave it out.
        mae: MAE encoder, ``mae_tiny``, ``mae_small`` or ``mae_base``; ``none`` to leave it out.
        pyramid: any model of timm's with feature maps as a third encoder, as ``tf_efficientnet_lite0``; ``none`` to
            do without. Where it has fine maps the skip stands on them.
        pyramid_zoom: 1, 2 or 4; enlarges the crop before the pyramid alone.
        zoom: 1, 2 or 4; enlarges the crop before the encoders, at its square in cost.
        mae_scale: 1, 0.5 or 0.25; size of the MAE's input relative to SAM's.
        fusion: ``fafm``, or for ablation ``add``, ``concat``, or one source alone: ``sam``, ``mae``, ``pyramid``.
        learned_depths: learn the weights of the MAE's four depths.
        prototypes: prototypes of each class.
        tokens: sparse tokens of each class; 0 for none.
        visible_tokens: ``own`` or ``all``.
        dense: whether dense prompts are given.
        similarity: ``cosine`` or ``dot``.
        skip: high-resolution skip; None for the preset's choice.
        skip_channels: channels of the skip at full resolution.
        skip_decoder: what the skip makes of a pyramid's maps: ``light`` works on cells of pixels, ``unet`` merges
            them up to every pixel; it draws outlines better and costs half as much again.
        fine_prototypes: whether classes have prototypes among the skip's features, too.
        chunk: image-class pairs decoded at once on a CPU; 0 for all.
        amp: compute in bfloat16 where the device does so natively.
        compile_blocks: have the encoders' blocks compiled at the first call, which then takes tens of seconds.

    Raises:
        InputError: for a name or number that is not among the valid ones, or if no encoder is left.

    Example:
        >>> import torch
        >>> from scsam_monai.networks.compose import compose_scsam
        >>> network = compose_scsam(n_classes=3).eval()
        >>> network(torch.rand(1, 1, 50, 70)).shape
        torch.Size([1, 3, 50, 70])
    """
    check_choice("preset", preset, PRESETS)
    check_choice("zoom", zoom, ZOOMS)
    check_choice("pyramid_zoom", pyramid_zoom, ZOOMS)
    check_choice("mae_scale", mae_scale, MAE_SCALES)
    check_choice("skip_decoder", skip_decoder, SKIP_DECODERS)
    with_skip = PRESETS[preset].skip if skip is None else skip
    fuse = build_fusion(fusion, _sources(sam=sam, mae=mae, pyramid=pyramid))
    sam_encoder = SAMImageEncoder(sam) if "sam" in fuse.sources else None
    mae_encoder = MAEEncoder(mae) if "mae" in fuse.sources else None
    source = PyramidEncoder(pyramid, zoom=pyramid_zoom) if pyramid != NONE else None
    early = sam_encoder.width if sam_encoder is not None else 0
    network = ScSAM(
        sam_encoder=sam_encoder,
        mae_encoder=mae_encoder,
        depth_mixer=DepthMixer(mae_encoder.width, learned=learned_depths)
        if mae_encoder is not None
        else None,
        fusion=fuse,
        prompt_encoder=ClassPromptEncoder(
            n_classes,
            prototypes=prototypes,
            tokens=tokens,
            dense=dense,
            similarity=similarity,
            visible=visible_tokens,
        ),
        mask_decoder=ClassMaskDecoder(
            chunk=chunk,
            skip_channels=skip_channels if with_skip else 0,
            fine_prototypes=n_classes if fine_prototypes else 0,
        ),
        skip=_skip(source, early, skip_channels, skip_decoder) if with_skip else None,
        sources={PYRAMID_SOURCE: source} if source is not None else None,
        mixers={PYRAMID_SOURCE: CoarseMixer(source.strides, source.widths)}
        if source is not None and PYRAMID_SOURCE in fuse.sources
        else None,
        zoom=zoom,
        mae_scale=mae_scale,
        amp=amp,
    )
    if compile_blocks:
        compile_encoders(network)
    return network


def _sources(**names: str) -> tuple[str, ...]:
    """Names of the sources that are not left out."""
    kept = tuple(source for source, name in names.items() if name != NONE)
    if not kept:
        raise InputError("encoders", expected="at least one", met="none", remedy="name sam, mae or pyramid")
    return kept


def _skip(
    source: PyramidEncoder | None, early: int, channels: int, decoder: str
) -> HighResolutionSkip | MapSkip:
    """On the pyramid where it has fine maps, on convolutions of its own otherwise."""
    if source is None or source.strides[0] > FINE:
        return HighResolutionSkip(early, channels)
    return SKIP_DECODERS[decoder](source.strides, source.widths, channels)
