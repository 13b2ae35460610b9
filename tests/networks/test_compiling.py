from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scsam_monai.networks.compiling import compile_blocks
from scsam_monai.networks.factory import compose_scsam
from scsam_monai.networks.scsam import ScSAM


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that are given to the compiler, which itself takes too long for a test."""
    given: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: given.append(type(self).__name__))
    return given


@pytest.mark.parametrize(("fusion", "blocks"), [("fafm", 24), ("sam", 12), ("mae", 12)])
def test_all_blocks_of_both_encoders(compiled: list[str], fusion: str, blocks: int) -> None:
    compile_blocks(compose_scsam(3, fusion=fusion))
    assert compiled == ["Block"] * blocks


def test_is_off_unless_asked_for(compiled: list[str]) -> None:
    compose_scsam(3)
    assert not compiled
    compose_scsam(3, compile_blocks=True)
    assert len(compiled) == 24


@torch.no_grad()
def test_same_result_and_names(relative_error: Callable[..., float]) -> None:
    """With the compiler's front end alone, as the code it would write takes half a minute."""
    torch.manual_seed(0)
    network: ScSAM = compose_scsam(3).eval()
    image, names = torch.rand(1, 1, 320, 64), list(network.state_dict())
    expected = network(image)
    torch.compiler.reset()
    for encoder in (network.sam_encoder.blocks, network.mae_encoder.vit.blocks):
        for block in encoder:
            block.compile(backend="eager", fullgraph=True)
    assert relative_error(network(image), expected) < 1e-5
    assert list(network.state_dict()) == names
