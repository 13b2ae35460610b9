"""The parts of ``check.py`` about encoders: agreement with the CPU, and speed beside the stock encoder."""

from __future__ import annotations

import importlib.util
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import lru_cache, partial
from typing import Any

import torch
from encoder_speed import model_flop, pair, wall_median
from measuring import relative_error
from torch import Tensor, nn

from scsam_monai.networks.compose import compile_encoders, compose_scsam
from scsam_monai.networks.graphed import GraphedNetwork
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.sam_encoder import SAMImageEncoder
from scsam_monai.networks.scsam import ScSAM

Row = dict[str, Any]

CASES = [("vit_b", 1024, 8), ("vit_b", 1024, 1), ("vit_b", 512, 8), ("vit_t", 256, 64)]
SMALL_CASES = [("vit_t", 64, 2)]
ROUNDS = 8


class Pixels(nn.Module):
    """Normalised pixels to the embedding, in bfloat16 on a GPU."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encode = encoder.encode_normalised if isinstance(encoder, SAMImageEncoder) else encoder

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode ``(B, 3, H, W)``."""
        with half(pixels):
            y = self.encode(pixels)
        return y if isinstance(y, Tensor) else y.embedding


def half(x: Tensor) -> Any:
    """Mixed precision where ``x`` is on a GPU."""
    return torch.autocast("cuda", torch.bfloat16) if x.is_cuda else nullcontext()


def device_of(rehearse: bool) -> str:
    """Where a part computes."""
    return "cpu" if rehearse else "cuda"


@lru_cache(maxsize=1)
def both(name: str, size: int, device: str) -> tuple[nn.Module, SAMImageEncoder]:
    """The stock encoder and ours, made where they compute."""
    with torch.device(device):
        return pair(name, size)


def graph_seconds(network: nn.Module, x: Tensor, rounds: int, device: str) -> float:
    """Median seconds of a pass as a recorded graph; NaN where it could not be recorded."""
    call = GraphedNetwork(network)
    seconds = wall_median(partial(call, x), rounds, device)
    return float("nan") if device == "cuda" and not call.recorded else seconds


def ceiling(device: str, side: int) -> float:
    """Operations a second of one large product of matrices in bfloat16."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / wall_median(partial(torch.matmul, a, b), ROUNDS, device)


def environment(rehearse: bool) -> Iterator[Row]:
    """What computes, and how fast at best."""
    start = time.perf_counter()
    device = device_of(rehearse)
    torch.zeros(1, device=device)
    yield {"what": "start of the device s", "value": f"{time.perf_counter() - start:.1f}"}
    if device == "cuda":
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        yield {"what": "card", "value": torch.cuda.get_device_name()}
        yield {
            "what": "driver",
            "value": subprocess.run(query, capture_output=True, text=True).stdout.strip(),
        }
    yield {"what": "torch", "value": torch.__version__}
    for name in ("tensorrt", "torch_tensorrt", "triton"):
        value = "there" if importlib.util.find_spec(name) else "absent"
        yield {"what": name, "value": value}
    side = 64 if rehearse else 8192
    yield {
        "what": f"bf16 product of {side} x {side}, TFLOP/s",
        "value": f"{ceiling(device, side) / 1e12:.0f}",
    }
    # What a kernel costs to start, which bounds small networks.
    x = torch.zeros(1, device=device)
    seconds = wall_median(lambda: [x.add_(1) for _ in range(1000)], 3, device)
    yield {"what": "start of a kernel us", "value": f"{seconds * 1e3:.1f}"}


@torch.no_grad()
def encoder(rehearse: bool) -> Iterator[Row]:
    """Our encoder beside the stock one, launched kernel by kernel and as a recorded graph."""
    device = device_of(rehearse)
    most = ceiling(device, 64 if rehearse else 8192)
    for name, size, batch in SMALL_CASES if rehearse else CASES:
        stock, ours = (Pixels(part) for part in both(name, size, device))
        pixels = torch.randn(batch, 3, size, size, device=device)
        error = relative_error(ours(pixels).float(), stock(pixels).float())
        times = {
            "stock": wall_median(partial(stock, pixels), ROUNDS, device),
            "ours": wall_median(partial(ours, pixels), ROUNDS, device),
            "ours graph": graph_seconds(ours, pixels, ROUNDS, device),  # the stock one cannot be recorded
        }
        rate = batch * model_flop(name, size) / min(times["ours"], times["ours graph"])
        yield {
            "encoder": name,
            "input": size,
            "batch": batch,
            **{f"{key} ms": f"{seconds * 1e3:.2f}" for key, seconds in times.items()},
            "ratio": f"{times['stock'] / times['ours']:.2f}",
            "ratio of graph": f"{times['stock'] / times['ours graph']:.2f}",
            "TFLOP/s": f"{rate / 1e12:.1f}",
            "of the ceiling": f"{rate / most:.0%}",
            "error": f"{error:.0e}",
        }


@torch.no_grad()
def profile(rehearse: bool) -> Iterator[Row]:
    """The kernels of our encoder that take longest."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as record

    device, rounds = device_of(rehearse), 3
    name, size, batch = (SMALL_CASES if rehearse else CASES)[0]
    ours = Pixels(both(name, size, device)[1])
    pixels = torch.randn(batch, 3, size, size, device=device)
    for _ in range(2):
        ours(pixels)
    activities = [ProfilerActivity.CPU] if rehearse else [ProfilerActivity.CUDA]
    with record(activities=activities) as seen:
        for _ in range(rounds):
            ours(pixels)
        if not rehearse:
            torch.cuda.synchronize()
    key = "self_cpu_time_total" if rehearse else "self_device_time_total"
    events = sorted(seen.key_averages(), key=lambda event: -getattr(event, key))
    total = sum(getattr(event, key) for event in events)
    for event in events[:14]:
        spent = getattr(event, key)
        yield {
            "kernel": event.key[:110],
            "ms a pass": f"{spent / rounds / 1e3:.3f}",
            "calls a pass": event.count // rounds,
            "share": f"{spent / total:.1%}",
        }
    yield {"kernel": "all", "ms a pass": f"{total / rounds / 1e3:.3f}", "calls a pass": "", "share": "100%"}


@torch.no_grad()
def compiled(rehearse: bool) -> Iterator[Row]:
    """Our encoder with its blocks compiled, and that as a graph."""
    device = device_of(rehearse)
    for name, size, batch in SMALL_CASES if rehearse else (CASES[0], CASES[-1]):
        torch.compiler.reset()
        encoder = both(name, size, device)[1]
        eager = Pixels(encoder)
        pixels = torch.randn(batch, 3, size, size, device=device)
        expected = eager(pixels).float()
        before = graph_seconds(eager, pixels, ROUNDS, device)
        start = time.perf_counter()
        if not rehearse:  # needs a compiler of C++ on a CPU, and half a minute
            compile_encoders(encoder)
        error = relative_error(eager(pixels).float(), expected)
        first = time.perf_counter() - start
        seconds = wall_median(partial(eager, pixels), ROUNDS, device)
        graph = graph_seconds(eager, pixels, ROUNDS, device)
        rate = batch * model_flop(name, size) / min(seconds, graph)
        yield {
            "encoder": name,
            "input": size,
            "batch": batch,
            "first call s": f"{first:.1f}",
            "graph ms": f"{before * 1e3:.2f}",
            "compiled ms": f"{seconds * 1e3:.2f}",
            "compiled graph ms": f"{graph * 1e3:.2f}",
            "TFLOP/s": f"{rate / 1e12:.1f}",
            "error": f"{error:.0e}",
        }


@torch.no_grad()
def parity(rehearse: bool) -> Iterator[Row]:
    """Every network on the CPU and on the device, in float32 and bfloat16."""
    device = device_of(rehearse)
    small = 64
    cases: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
        "SAM vit_t": (partial(SAMImageEncoder, "vit_t"), (2, 1, small if rehearse else 256)),
        "MAE mae_tiny": (partial(MAEEncoder, "mae_tiny"), (2, 1, small if rehearse else 128)),
        "ScSAM small": (partial(compose_scsam, 8), (2, 1, small if rehearse else 256)),
        "ScSAM small, ragged": (partial(compose_scsam, 4, preset="paper"), (1, 1, 51 if rehearse else 211)),
    }
    if not rehearse:
        cases["SAM vit_b"] = (partial(SAMImageEncoder, "vit_b"), (1, 1, 512))
        cases["MAE mae_base"] = (partial(MAEEncoder, "mae_base"), (1, 1, 256))
    for name, (build, shape) in cases.items():
        torch.manual_seed(0)
        network, image = build().eval(), torch.rand(*shape, shape[-1])
        precise = network.in_single_precision() if isinstance(network, ScSAM) else network
        expected = _answer(precise, image)
        network, there = network.to(device), image.to(device)
        with half(there):
            mixed = _answer(network, there)
        plain = _answer(precise.to(device), there)
        yield {
            "network": name,
            "input": "x".join(map(str, image.shape)),
            "float32 error": f"{relative_error(plain, expected):.1e}",
            "bfloat16 error": f"{relative_error(mixed, expected):.1e}",
        }


def _answer(network: nn.Module, image: Tensor) -> Tensor:
    y = network(image)
    while not isinstance(y, Tensor):
        y = y[0] if not hasattr(y, "embedding") else y.embedding
    return y.float().cpu()
