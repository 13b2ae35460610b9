"""bfloat16 where a processor has it: close to single precision, the same each time, and never in what is traced."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from scsam_monai.networks import precision
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.precision import cpu_has_bfloat16, has_bfloat16, mixed_precision
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.cache.embeddings import Recipe

CPU = torch.device("cpu")


@pytest.fixture(params=["paper", "plus"])
def network(request: pytest.FixtureRequest) -> ScSAM:
    torch.manual_seed(0)
    return compose_scsam(3, preset=request.param).eval()


@pytest.fixture
def has(monkeypatch: pytest.MonkeyPatch) -> Callable[[bool], None]:
    """Sets whether the processor multiplies in bfloat16; one that does not imitates it."""
    return lambda whether: monkeypatch.setattr(precision, "cpu_has_bfloat16", lambda: whether)


def test_a_processor_is_asked_what_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for known, expected in (
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"avx2": True}, False),
    ):
        cpu_has_bfloat16.cache_clear()
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda known=known: known, raising=False)
        assert cpu_has_bfloat16() is expected
    cpu_has_bfloat16.cache_clear()
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert cpu_has_bfloat16() is False
    cpu_has_bfloat16.cache_clear()


def test_devices_without_it_stay_in_single_precision(has: Callable[[bool], None]) -> None:
    has(False)
    assert not has_bfloat16(CPU)
    assert not has_bfloat16(torch.device("meta"))
    with mixed_precision(CPU):
        assert (torch.rand(2, 2) @ torch.rand(2, 2)).dtype == torch.float32


@torch.no_grad()
def test_logits_are_close_and_the_same_each_time(
    network: ScSAM, has: Callable[[bool], None], relative_error: Callable[..., float]
) -> None:
    image = torch.rand(2, 1, 64, 48)
    has(False)
    exact = network(image)
    has(True)
    found = network(image)
    assert found.dtype == torch.float32
    assert 0 < relative_error(found, exact) < 0.1
    assert torch.equal(found, network(image))
    network.amp = False
    assert torch.equal(exact, network(image))


def test_gradients_reach_every_weight_that_trains(network: ScSAM, has: Callable[[bool], None]) -> None:
    has(True)
    output = network.train()(torch.rand(2, 1, 64, 64))
    (output.logits.square().mean() + output.fused.float().square().mean()).backward()
    unused = {id(weight) for part in network.mask_decoder.unused() for weight in part.parameters()}
    trained = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    assert [
        name for name, weight in trained.items() if weight.grad is None and id(weight) not in unused
    ] == []
    assert all(
        torch.isfinite(weight.grad).all() for weight in network.parameters() if weight.grad is not None
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_what_is_traced_is_in_single_precision(
    network: ScSAM, has: Callable[[bool], None], relative_error: Callable[..., float]
) -> None:
    image = torch.rand(1, 1, 64, 48)
    has(True)
    traced = torch.jit.trace(network, image, check_trace=False)
    has(False)
    assert relative_error(traced(image), network(image)) < 1e-5


def test_cached_maps_of_another_precision_are_not_read(network: ScSAM, has: Callable[[bool], None]) -> None:
    has(False)
    exact = Recipe(network)
    has(True)
    assert Recipe(network).key != exact.key
    network.amp = False
    assert Recipe(network).key == exact.key
