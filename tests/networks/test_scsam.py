from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine
from monai.handlers import CheckpointLoader
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.errors import InputError
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.scsam import ScSAM, ScSAMOutput

N_CLASSES = 3


@pytest.fixture(scope="module")
def networks() -> dict[str, ScSAM]:
    torch.manual_seed(0)
    return {preset: compose_scsam(N_CLASSES, preset=preset) for preset in ("paper", "plus")}


@pytest.fixture(params=["paper", "plus"])
def network(networks: dict[str, ScSAM], request: pytest.FixtureRequest) -> Iterator[ScSAM]:
    """An evaluating network of either preset; settings that a test changes are put back."""
    network = networks[request.param].eval()
    settings = network.zoom, network.mae_scale, network.missing_weights
    network.amp = False
    yield network
    network.zoom, network.mae_scale, network.missing_weights = settings


@pytest.fixture
def plus(networks: dict[str, ScSAM]) -> ScSAM:
    """A copy, for tests that change weights or freeze."""
    return copy.deepcopy(networks["plus"]).eval()


def loss_on_all_outputs(output: ScSAMOutput) -> Tensor:
    parts = (output.logits, output.similarity, *output.aligned.values(), output.fused)
    return sum(((part - torch.rand_like(part)) ** 2).mean() for part in parts)


@pytest.mark.parametrize("size", [(32, 32), (16, 48), (51, 33), (5, 7)])
@pytest.mark.parametrize(("zoom", "mae_scale"), list(product((1, 2, 4), (1, 0.5))))
@torch.no_grad()
def test_shapes(network: ScSAM, size: tuple[int, int], zoom: int, mae_scale: float) -> None:
    network.zoom, network.mae_scale = zoom, mae_scale
    image = torch.rand(1, 1, *size)
    embeddings = network.encode(image)
    g = embeddings.grid
    assert all(16 * cells >= zoom * side for cells, side in zip(g, size, strict=True))
    assert embeddings.sam.embedding.shape == (1, 256, *g)
    assert embeddings.sam.early.shape == (1, 192, *g)
    small = tuple(int(cells * mae_scale) for cells in g)
    assert [f.shape for f in embeddings.mae] == [(1, 192, *small)] * 4
    output = network.decode(embeddings, image)
    assert output.logits.shape == (1, N_CLASSES, *size)
    assert output.similarity.shape == (1, N_CLASSES, *g)
    for features in (*output.aligned.values(), output.fused):
        assert features.shape == (1, 256, *g)
    assert output.prototypes.shape == (N_CLASSES, 4, 256)


@pytest.mark.parametrize("zoom", [1, 2, 4])
@torch.no_grad()
def test_padding_moves_nothing(network: ScSAM, zoom: int, relative_error: Callable[..., float]) -> None:
    """An odd size gives what the image gives that was padded beforehand: masks keep their place."""
    network.zoom = zoom
    image = torch.rand(1, 1, 50, 39)
    padded = F.pad(image, (0, 64 - 39, 0, 64 - 50), mode="replicate")
    step = 32 // zoom
    exact = padded[..., : -(-50 // step) * step, : -(-39 // step) * step]
    assert relative_error(network(image), network(exact)[..., :50, :39]) < 1e-5


@pytest.mark.parametrize("zoom", [1, 2, 4])
def test_grids_share_their_centres(network: ScSAM, zoom: int) -> None:
    """Ramps of pixel centres stay pixel centres on the way to the encoders and back."""
    network.zoom = zoom
    width, stride = 96 // zoom, 4 / zoom
    image = (torch.arange(width) + 0.5).expand(1, 1, 8, -1)
    enlarged = network._enlarge(image)[0, 0, 0]
    assert torch.allclose(enlarged[4:-4], ((torch.arange(96) + 0.5) / zoom)[4:-4], atol=1e-5)
    masks = ((torch.arange(24) + 0.5) * stride).expand(1, N_CLASSES, 4, -1)
    native = network._to_native(masks, (1, 6))[0, 0, 0]
    assert torch.allclose(native[2:-2], image[0, 0, 0, 2:-2], atol=1e-5)
    assert native.shape == (width,)


def test_evaluation_gives_a_tensor_and_training_all_outputs(network: ScSAM) -> None:
    image = torch.rand(1, 1, 32, 32)
    logits = network(image)
    assert isinstance(logits, Tensor)
    output = network.train()(image)
    assert isinstance(output, ScSAMOutput)
    assert torch.allclose(output.logits, logits, atol=1e-5)
    assert torch.equal(output.prototypes, network.prompt_encoder.prototypes)
    assert torch.allclose(output.fused, network.fuse(image), atol=1e-5)


@torch.no_grad()
def test_deterministic(network: ScSAM) -> None:
    image = torch.rand(2, 1, 48, 32)
    assert torch.equal(network(image), network(image))


@torch.no_grad()
def test_batch_equals_singles(network: ScSAM, relative_error: Callable[..., float]) -> None:
    images = torch.rand(2, 1, 48, 32)
    singles = torch.cat([network(image[None]) for image in images])
    assert relative_error(network(images), singles) < 1e-5
    assert relative_error(singles[:1], singles[1:]) > 1e-4


@torch.no_grad()
def test_cached_embeddings_equal_encoding(network: ScSAM) -> None:
    image = torch.rand(1, 1, 48, 32)
    assert torch.equal(network.decode(network.encode(image), image).logits, network(image))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_trace_serves_other_batches(network: ScSAM, relative_error: Callable[..., float]) -> None:
    traced = torch.jit.trace(network, torch.rand(1, 1, 50, 39), check_trace=False)
    images = torch.rand(2, 1, 50, 39)
    assert relative_error(traced(images), network(images)) < 1e-5


@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_reach_all_that_trains(plus: ScSAM, frozen: bool) -> None:
    if frozen:
        plus.sam_encoder.freeze()
        plus.mae_encoder.freeze()
    plus.train()
    # It starts from nothing, and what comes before it has no gradient then.
    torch.nn.init.normal_(plus.mask_decoder.skip_head.layers[-1].weight, std=0.1)
    loss_on_all_outputs(plus(torch.rand(2, 1, 64, 64))).backward()
    for name, parameter in plus.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        # A softmax does not see what is added to all keys alike, so their biases have no gradient.
        if parameter.requires_grad and not name.endswith(("k_proj.bias", "to_key.bias")):
            assert parameter.grad.abs().max() > 0, name
        if frozen:
            assert not (parameter.requires_grad and name.startswith(("sam_encoder", "mae_encoder"))), name


def test_frozen_encoders_stay_so(plus: ScSAM) -> None:
    encoders = (plus.sam_encoder, plus.mae_encoder)
    for encoder in encoders:
        encoder.freeze()
    for call in (
        plus.train,
        plus.requires_grad_,
        *(e.train for e in encoders),
        *(e.requires_grad_ for e in encoders),
    ):
        call()
        for encoder in encoders:
            assert not any(m.training for m in encoder.modules())
            assert not any(p.requires_grad for p in encoder.parameters())
    assert plus.fusion.training
    assert plus.fusion.gamma.requires_grad
    embeddings = plus.encode(torch.rand(1, 1, 32, 32, requires_grad=True))
    assert not embeddings.sam.embedding.requires_grad
    assert not any(f.requires_grad for f in embeddings.mae)


def test_requires_grad_leaves_unused_heads_out(plus: ScSAM) -> None:
    before = {name for name, p in plus.named_parameters() if p.requires_grad}
    plus.requires_grad_(True)
    assert {name for name, p in plus.named_parameters() if p.requires_grad} == before
    plus.requires_grad_(False)
    assert not any(p.requires_grad for p in plus.parameters())


def test_set_prototypes(plus: ScSAM) -> None:
    prototypes = torch.randn(N_CLASSES, 4, 256)
    plus.set_prototypes(prototypes)
    assert torch.equal(plus.state_dict()["prompt_encoder.prototypes"], prototypes)
    assert plus.prompt_encoder.prototypes.requires_grad


def test_pixel_size_travels_with_the_weights(plus: ScSAM, networks: dict[str, ScSAM]) -> None:
    assert networks["plus"].pixel_size_nm.isnan()
    plus.set_pixel_size(16.0)
    other = copy.deepcopy(networks["plus"])
    other.load_state_dict(plus.state_dict())
    assert other.pixel_size_nm.item() == 16


def test_missing_weights_refuse_to_run_until_loaded(plus: ScSAM) -> None:
    image, state = torch.rand(1, 1, 32, 32), plus.state_dict()
    plus(image)
    plus.load_state_dict({k: v for k, v in state.items() if "skip" not in k}, strict=False)
    with pytest.raises(InputError, match=r"every weight, met \d+ missing \(.*skip.*, \.\.\.\)") as caught:
        plus(image)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        plus.train()(image)
    plus.load_state_dict(state)
    plus(image)


def test_one_missing_weight_is_named_alone(plus: ScSAM) -> None:
    state = plus.state_dict()
    del state["fusion.gamma"]
    plus.load_state_dict(state, strict=False)
    with pytest.raises(InputError, match=r"met 1 missing \(fusion\.gamma\);"):
        plus(torch.rand(1, 1, 32, 32))


def test_missing_weights_are_remembered_by_copies(plus: ScSAM) -> None:
    plus.load_state_dict({}, strict=False)
    with pytest.raises(InputError):
        copy.deepcopy(plus)(torch.rand(1, 1, 32, 32))


def test_monai_checkpoint_loader_notices_missing_weights(plus: ScSAM, tmp_path: Path) -> None:
    """MONAI Label loads leniently and only warns."""
    state = plus.state_dict()
    whole, part = tmp_path / "whole.pt", tmp_path / "part.pt"
    torch.save(state, whole)
    torch.save({k: v for k, v in state.items() if not k.startswith("fusion")}, part)
    engine = Engine(lambda *_: None)
    CheckpointLoader(str(part), {"model": plus}, strict=False)(engine)
    with pytest.raises(InputError, match="fusion"):
        plus(torch.rand(1, 1, 32, 32))
    CheckpointLoader(str(whole), {"model": plus}, strict=False)(engine)
    plus(torch.rand(1, 1, 32, 32))


def test_work_is_counted_without_memory(plus: ScSAM) -> None:
    assert plus.to("meta")(torch.rand(1, 1, 50, 39, device="meta")).shape == (1, N_CLASSES, 50, 39)


def test_mixed_precision_stays_near(plus: ScSAM, relative_error: Callable[..., float]) -> None:
    """Every part accepts bfloat16 from its neighbours; the similarity, whose spread is small, is not rounded."""
    image = torch.rand(2, 1, 48, 32)
    expected = plus.train()(image)
    with torch.autocast("cpu", torch.bfloat16):
        met = plus(image)
    assert met.logits.dtype == met.similarity.dtype == torch.float32
    for name in ("logits", "similarity", "fused"):
        assert relative_error(getattr(met, name), getattr(expected, name)) < 5e-2, name
    for name, features in expected.aligned.items():
        assert relative_error(met.aligned[name], features) < 5e-2, name
    loss_on_all_outputs(met).backward()
    assert all(p.grad.isfinite().all() for p in plus.parameters() if p.requires_grad)


cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@cuda
@pytest.mark.parametrize("size", [(64, 64), (51, 33)])
@torch.no_grad()
def test_cuda_agrees_with_cpu(
    plus: ScSAM, size: tuple[int, int], relative_error: Callable[..., float]
) -> None:
    image = torch.rand(2, 1, *size)
    expected = plus(image)
    met = plus.cuda()(image.cuda())
    assert met.dtype == torch.float32
    assert relative_error(met.cpu(), expected) < 5e-2


@cuda
@pytest.mark.parametrize("frozen", [False, True])
def test_gradients_on_cuda(plus: ScSAM, frozen: bool) -> None:
    if frozen:
        plus.sam_encoder.freeze()
        plus.mae_encoder.freeze()
    plus.cuda().train()
    loss_on_all_outputs(plus(torch.rand(2, 1, 64, 64, device="cuda"))).backward()
    for name, parameter in plus.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@cuda
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@torch.no_grad()
def test_trace_on_cuda(plus: ScSAM, relative_error: Callable[..., float]) -> None:
    plus.cuda()
    traced = torch.jit.trace(plus, torch.rand(1, 1, 64, 32, device="cuda"), check_trace=False)
    images = torch.rand(2, 1, 64, 32, device="cuda")
    assert relative_error(traced(images), plus(images)) < 2e-2
