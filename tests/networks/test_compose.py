from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from scsam_monai.networks.compose import FUSIONS, compile_encoders, compose_scsam
from scsam_monai.networks.pyramid import PYRAMID
from scsam_monai.networks.pyramid_skip import PyramidSkip
from scsam_monai.networks.scsam import ScSAM, ScSAMOutput
from scsam_monai.networks.skip import HighResolutionSkip
from scsam_monai.networks.unet_skip import UNetSkip

N_CLASSES = 3


def output_of(**switches: Any) -> tuple[ScSAM, ScSAMOutput]:
    torch.manual_seed(0)
    network = compose_scsam(N_CLASSES, **switches).train()
    with torch.no_grad():
        return network, network(torch.rand(1, 1, 32, 48))


@pytest.mark.parametrize("fusion", [*FUSIONS, "sam", "mae", "pyramid"])
def test_fusion_uses_the_encoders_it_names(fusion: str) -> None:
    network, output = output_of(fusion=fusion, pyramid=PYRAMID)
    assert (network.sam_encoder is None) == (fusion in ("mae", "pyramid"))
    assert (network.mae_encoder is None) == (fusion in ("sam", "pyramid"))
    assert (network.depth_mixer is None) == (fusion in ("sam", "pyramid"))
    assert (not network.mixers) == (fusion in ("sam", "mae"))
    assert isinstance(network.skip, PyramidSkip)
    assert set(output.aligned) == ({"sam", "mae", "pyramid"} if fusion == "fafm" else set())
    assert output.logits.shape == (1, N_CLASSES, 32, 48)
    assert output.fused.shape == (1, 256, 2, 3 if network.mae_encoder is None else 4)


def test_presets_differ_in_the_skip_and_have_no_pyramid() -> None:
    paper, plus = (compose_scsam(N_CLASSES, preset=preset) for preset in ("paper", "plus"))
    assert paper.skip is None
    assert isinstance(plus.skip, HighResolutionSkip)
    for network in (paper, plus):
        assert (len(network.sources), network.fusion.sources) == (0, ("sam", "mae"))
        assert {key.partition(".")[0] for key in network.state_dict()}.isdisjoint({"sources", "mixers"})


@pytest.mark.parametrize("left_out", ["sam", "mae", "pyramid"])
def test_any_source_can_be_left_out(left_out: str) -> None:
    network, output = output_of(**{"pyramid": PYRAMID, left_out: "none"})
    assert set(network.fusion.sources) == set(output.aligned) == {"sam", "mae", "pyramid"} - {left_out}
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


def test_all_sources_cannot_be_left_out() -> None:
    with pytest.raises(ValueError, match="encoders: expected at least one, met none"):
        compose_scsam(N_CLASSES, sam="none", mae="none", pyramid="none")


@pytest.mark.parametrize(
    ("name", "skip"), [("convnext_atto", PyramidSkip), ("vit_tiny_patch16_224", HighResolutionSkip)]
)
def test_any_model_of_timms_is_a_pyramid(name: str, skip: type) -> None:
    network, output = output_of(pyramid=name, pyramid_zoom=1)
    assert network.sources["pyramid"].name == name
    assert isinstance(network.skip, skip)
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


@pytest.mark.parametrize(("decoder", "skip"), [("unet", UNetSkip), ("light", PyramidSkip)])
def test_the_skip_has_the_decoder_that_is_named(decoder: str, skip: type) -> None:
    network, output = output_of(pyramid=PYRAMID, skip_decoder=decoder)
    assert isinstance(network.skip, skip)
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


def test_no_tokens() -> None:
    network, output = output_of(tokens=0)
    assert network.prompt_encoder.anchors is None
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


@pytest.mark.parametrize("tokens", [1, 6])
def test_number_of_tokens(tokens: int) -> None:
    network = compose_scsam(N_CLASSES, tokens=tokens)
    assert network.prompt_encoder(torch.rand(1, 256, 2, 2)).sparse.shape == (1, N_CLASSES, tokens, 256)


def test_visible_tokens() -> None:
    network, output = output_of(visible_tokens="all")
    assert network.prompt_encoder.anchors.negative_embed is not None
    assert network.prompt_encoder(output.fused).sparse.shape[2] == N_CLASSES * 4
    assert compose_scsam(N_CLASSES).prompt_encoder.anchors.negative_embed is None


def test_no_dense_prompt() -> None:
    network, output = output_of(dense=False)
    assert network.prompt_encoder.bottleneck is None
    assert network.prompt_encoder(output.fused).dense.shape == (1, 1, 256, 1, 1)


def test_similarity() -> None:
    _, cosine = output_of()
    _, dot = output_of(similarity="dot")
    assert torch.equal(cosine.fused, dot.fused)
    assert not torch.allclose(cosine.similarity, dot.similarity)
    assert not torch.allclose(cosine.logits, dot.logits)


@pytest.mark.parametrize(
    ("switches", "expected"),
    [
        ({"preset": "paper"}, False),
        ({"preset": "plus"}, True),
        ({"preset": "paper", "skip": True}, True),
        ({"preset": "plus", "skip": False}, False),
        ({}, True),
    ],
    ids=str,
)
def test_skip(switches: dict[str, Any], expected: bool) -> None:
    network, _ = output_of(**switches)
    assert (network.skip is not None) == (network.mask_decoder.skip_head is not None) == expected


def test_skip_channels() -> None:
    network, output = output_of(skip_channels=8)
    assert network.skip.channels == 8
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


@pytest.mark.parametrize(("zoom", "grid"), [(1, (2, 4)), (2, (4, 6)), (4, (8, 12))])
def test_zoom_refines_the_grid(zoom: int, grid: tuple[int, int]) -> None:
    _, output = output_of(zoom=zoom)
    assert output.similarity.shape == (1, N_CLASSES, *grid)
    assert output.logits.shape == (1, N_CLASSES, 32, 48)


@pytest.mark.parametrize("mae_scale", [1, 0.5, 0.25])
def test_mae_scale_sets_the_maes_grid(mae_scale: float) -> None:
    network = compose_scsam(N_CLASSES, mae_scale=mae_scale)
    with torch.no_grad():
        embeddings = network.encode(torch.rand(1, 1, 128, 64))
    assert embeddings.grid == (8, 4)
    assert embeddings.mae[0].shape[-2:] == (8 * mae_scale, 4 * mae_scale)


@pytest.mark.parametrize("learned", [True, False])
def test_learned_depths(learned: bool) -> None:
    network = compose_scsam(N_CLASSES, learned_depths=learned).requires_grad_(True)
    assert ("depth_mixer.weights" in dict(network.named_parameters())) == learned


def test_prototypes() -> None:
    _, output = output_of(prototypes=7)
    assert output.prototypes.shape == (N_CLASSES, 7, 256)


def test_chunk() -> None:
    network, whole = output_of(chunk=0)
    assert network.mask_decoder.chunk == 0
    _, chunked = output_of(chunk=2)
    assert torch.allclose(whole.logits, chunked.logits, atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"preset": "large"}, "one of paper, plus, met 'large'"),
        ({"sam": "vit_g"}, "one of vit_t, vit_b, vit_l, vit_h, met 'vit_g'"),
        ({"mae": "mae_huge"}, "one of mae_tiny, mae_small, mae_base, met 'mae_huge'"),
        ({"fusion": "sum"}, f"one of {', '.join(FUSIONS)}, sam, mae, met 'sum'"),
        ({"fusion": "sum", "pyramid": PYRAMID}, "sam, mae, pyramid, met 'sum'"),
        ({"similarity": "l2"}, "one of cosine, dot, met 'l2'"),
        ({"visible_tokens": "none"}, "one of own, all, met 'none'"),
        ({"zoom": 3}, "zoom: expected one of 1, 2, 4, met 3"),
        ({"mae_scale": 0.75}, "mae_scale: expected one of 1.0, 0.5, 0.25, met 0.75"),
    ],
    ids=str,
)
def test_invalid_values_list_the_valid_ones(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compose_scsam(N_CLASSES, **wrong)


@pytest.mark.parametrize(
    ("sam", "mae", "preset"),
    [("vit_b", "mae_base", "plus"), ("vit_l", "mae_small", "paper"), ("vit_h", "mae_base", "paper")],
)
def test_full_size_networks_run_without_memory(sam: str, mae: str, preset: str) -> None:
    """Shapes and work can be counted on the meta device."""
    with torch.device("meta"):
        network = compose_scsam(N_CLASSES, preset=preset, sam=sam, mae=mae).eval()
        assert network(torch.rand(1, 1, 100, 60)).shape == (1, N_CLASSES, 100, 60)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the modules that are given to the compiler, which itself takes too long for a test."""
    given: list[str] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: given.append(type(self).__name__))
    return given


@pytest.mark.parametrize(("fusion", "blocks"), [("fafm", 24), ("sam", 12), ("mae", 12)])
def test_all_blocks_of_both_encoders(compiled: list[str], fusion: str, blocks: int) -> None:
    compile_encoders(compose_scsam(3, fusion=fusion))
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
