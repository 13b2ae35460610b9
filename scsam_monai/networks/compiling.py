"""Compile the encoders' blocks with ``torch.compile``, for runs long enough to be worth its start."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.sam import SAMImageEncoder


def compile_blocks(network: nn.Module) -> None:
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
