from __future__ import annotations

import logging
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from scsam_monai.networks import attention, graphed
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.graphed import EAGER_CALLS, GraphedNetwork

cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


class OnGPU(Tensor):
    """A tensor that says it is on a GPU, to walk the paths of one."""

    is_cuda = True


class OnCPU(TorchDispatchMode):
    """Collects operations that see a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: set[str] = set()

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        tensors = (x for x in tree_flatten((args, kwargs, result))[0] if isinstance(x, Tensor))
        if any(x.device.type == "cpu" for x in tensors):
            self.operations.add(str(operation))
        return result


class Counted(nn.Module):
    calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x.as_subclass(Tensor) * 2


class Recording:
    """Takes the place of a graph."""

    def __init__(self, network: nn.Module, x: Tensor) -> None:
        self.shape = x.shape

    def replay(self, x: Tensor) -> Tensor:
        assert x.shape == self.shape
        return x.as_subclass(Tensor) * 2


def gpu_tensor(*shape: int) -> Tensor:
    return torch.rand(*shape).as_subclass(OnGPU)


def test_calls_are_eager_on_a_cpu() -> None:
    network = Counted()
    call = GraphedNetwork(network)
    x = torch.rand(2, 3)
    for _ in range(EAGER_CALLS + 2):
        assert torch.equal(call(x), x * 2)
    assert (network.calls, call.recorded) == (EAGER_CALLS + 2, 0)


def test_each_shape_is_recorded_after_some_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphed, "_Recorded", Recording)
    network = Counted()
    call = GraphedNetwork(network)
    for shape in ((2, 3), (4, 3)):
        for _ in range(EAGER_CALLS + 4):
            x = gpu_tensor(*shape)
            assert torch.equal(call(x), x.as_subclass(Tensor) * 2)
    assert (network.calls, call.recorded) == (2 * EAGER_CALLS, 2)


def test_failure_is_said_once_and_calls_stay_eager(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    monkeypatch.setattr(graphed, "_Recorded", refuse)
    network = Counted()
    call = GraphedNetwork(network)
    with caplog.at_level(logging.WARNING):
        for _ in range(EAGER_CALLS + 3):
            call(gpu_tensor(2, 3))
    assert network.calls == EAGER_CALLS + 3
    assert [record.message.splitlines() for record in caplog.records] == [
        [
            "the network could not be recorded as a CUDA graph and runs eagerly: "
            "operation not permitted when stream is capturing"
        ]
    ]


@pytest.mark.parametrize("preset", ["plus", "paper"])
def test_network_makes_nothing_on_the_cpu_that_a_gpu_would_wait_for(
    monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    monkeypatch.setattr(attention, "in_whole_windows", lambda x: True)
    monkeypatch.setattr(attention, "_computed_in", lambda x: x.dtype)
    network = compose_scsam(3, preset=preset).eval().to("meta")
    with OnCPU() as seen, torch.inference_mode():
        network(torch.rand(2, 1, 64, 96, device="meta"))
    assert not seen.operations


@cuda
def test_replay_on_cuda_equals_eager_calls(relative_error: Callable[..., float]) -> None:
    network = compose_scsam(3, preset="plus", sam="vit_t", mae="mae_tiny").eval().cuda()
    call = GraphedNetwork(network)
    kept = []
    for _ in range(EAGER_CALLS + 3):
        x = torch.rand(2, 1, 64, 64, device="cuda")
        with torch.no_grad():
            kept.append((call(x), network(x)))
    assert call.recorded == 1, "see the log"
    assert all(relative_error(met, expected) < 2e-2 for met, expected in kept)


def test_autocast_is_another_recording() -> None:
    x = torch.rand(1, 2)
    plain = graphed._key(x)
    with torch.autocast("cpu", torch.bfloat16):
        half = graphed._key(x)
    with torch.autocast("cpu", torch.float16):
        other = graphed._key(x)
    assert len({plain, half, other}) == 3
    assert x.device in plain
    assert graphed._key(x) == plain
