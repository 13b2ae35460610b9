"""Our SAM image encoder against segment-anything's own: same weights, same input, side by side in one run.

    python benchmarks/encoder_speed.py
    python benchmarks/encoder_speed.py --sizes 256 512 --rounds 9
    python benchmarks/encoder_speed.py --compile

On a CPU: one thread, process CPU time, both take turns, medians. Activation memory is what a forward pass adds to
the memory of a fresh process. Weights are random, which speed does not see. Where there is a GPU, a second table
gives bfloat16 times and the share of the ceiling, which is a large matrix product measured beside them.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import scsam_monai._torchvision  # noqa: F401  isort: skip
import torch
from measuring import (
    in_fresh_process,
    interleaved_medians,
    machine,
    markdown,
    peak_growth_mib,
    relative_error,
)
from segment_anything.modeling import ImageEncoderViT
from torch import nn
from torch.nn import functional as F

from scsam_monai.networks.compose import compile_encoders
from scsam_monai.networks.sam_encoder import EMBED_DIM, PATCH, SAM_ENCODERS, SAMImageEncoder

SMALL = ("vit_t", 256)
HEADER = [
    "encoder",
    "input",
    "stock s",
    "ours s",
    "ratio",
    "relative error",
    "stock MiB",
    "ours MiB",
    "memory ratio",
]
COMPILED_HEADER = [
    "encoder",
    "input",
    "first call, wall s",
    "ours s",
    "compiled s",
    "ratio",
    "relative error",
]
GPU_HEADER = ["encoder", "input", "batch", "stock ms", "ours ms", "ratio", "TFLOP/s", "of the ceiling"]


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="*", default=[256, 512, 1024], help="inputs of vit_b")
    parser.add_argument("--rounds", type=int, default=5, help="forward passes of each encoder")
    parser.add_argument("--compile", action="store_true", help="compiled blocks against ours instead")
    parser.add_argument("--memory", nargs=3, metavar=("KIND", "NAME", "SIZE"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory:
        kind, name, size = options.memory
        print(memory(kind, name, int(size)))
        return
    cases = [("vit_b", size) for size in options.sizes] + [SMALL]
    measure, header = (compiled_row, COMPILED_HEADER) if options.compile else (row, HEADER)
    print(f"{machine()}, medians of {options.rounds}\n")
    for line in markdown(header, (measure(name, size, options.rounds) for name, size in cases)):
        print(line, flush=True)
    if not torch.cuda.is_available():
        print("\nNo GPU: its table is left out.")
        return
    print(f"\n{torch.cuda.get_device_name()}, bfloat16, medians of {options.rounds}\n")
    for line in markdown(GPU_HEADER, gpu_rows(cases, options.rounds, "cuda")):
        print(line, flush=True)


def row(name: str, size: int, rounds: int) -> list[str]:
    """Measure both encoders."""
    stock, ours = pair(name, size)
    pixels = torch.randn(1, 3, size, size)
    error = relative_error(ours.encode_normalised(pixels).embedding, stock(pixels))
    calls = {"stock": partial(stock, pixels), "ours": partial(ours.encode_normalised, pixels)}
    seconds = interleaved_medians(calls, rounds)
    mib = {kind: in_fresh_process(__file__, "--memory", kind, name, str(size)) for kind in calls}
    times = [f"{seconds[kind]:.3f}" for kind in calls] + [f"**{seconds['stock'] / seconds['ours']:.2f}**"]
    sizes = [f"{mib[kind]:.0f}" for kind in calls] + [f"**{mib['stock'] / mib['ours']:.1f}**"]
    return [name, str(size), *times, f"{error:.0e}", *sizes]


def compiled_row(name: str, size: int, rounds: int) -> list[str]:
    """Measure our encoder with its blocks compiled and without."""
    torch.compiler.reset()
    ours, compiled = pair(name, size)[1], pair(name, size)[1]
    compile_encoders(compiled)
    pixels = torch.randn(1, 3, size, size)
    expected, start = ours.encode_normalised(pixels).embedding, time.perf_counter()
    error = relative_error(compiled.encode_normalised(pixels).embedding, expected)
    first = time.perf_counter() - start
    calls = {
        name: partial(encoder.encode_normalised, pixels) for name, encoder in (("a", ours), ("b", compiled))
    }
    eager, fast = interleaved_medians(calls, rounds).values()
    times = [f"{first:.0f}", f"{eager:.3f}", f"{fast:.3f}", f"**{eager / fast:.2f}**"]
    return [name, str(size), *times, f"{error:.0e}"]


def pair(name: str, size: int) -> tuple[nn.Module, SAMImageEncoder]:
    """segment-anything's encoder for inputs of one size, and ours, with the same weights."""
    torch.manual_seed(0)
    ours = SAMImageEncoder(name).eval()
    for key, parameter in ours.named_parameters():
        if "rel_pos" in key:  # zero at first
            nn.init.normal_(parameter, std=0.2)
    stock = ImageEncoderViT(**SAM_ENCODERS[name].stock_arguments())
    stock.load_state_dict(ours.state_dict())
    side, grid = size // PATCH, stock.pos_embed.permute(0, 3, 1, 2)
    resized = F.interpolate(grid, (side, side), mode="bicubic", align_corners=False)
    stock.pos_embed = nn.Parameter(resized.permute(0, 2, 3, 1))
    return stock.eval(), ours


def memory(kind: str, name: str, size: int) -> float:
    """MiB that one forward pass adds; the small pass before it sets libraries up."""
    stock, ours = pair(name, size)
    encode = ours.encode_normalised if kind == "ours" else stock
    pixels = torch.randn(1, 3, size, size)
    ours.encode_normalised(torch.randn(1, 3, 32, 32))
    return peak_growth_mib(partial(encode, pixels))


def gpu_rows(cases: list[tuple[str, int]], rounds: int, device: str, side: int = 8192) -> Iterator[list[str]]:
    """Measure both encoders in bfloat16 beside a product of two matrices of ``side`` x ``side``."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    ceiling = 2 * side**3 / wall_median(partial(torch.matmul, a, b), rounds, device)
    for name, size in cases:
        stock, ours = pair(name, size)
        stock.to(device), ours.to(device)
        for batch in (1, 8):
            pixels = torch.randn(batch, 3, size, size, device=device)
            with torch.autocast(device, torch.bfloat16):
                slow, fast = (
                    wall_median(partial(encode, pixels), rounds, device)
                    for encode in (stock, ours.encode_normalised)
                )
            rate = batch * model_flop(name, size) / fast
            times = [f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"**{slow / fast:.2f}**"]
            yield [name, str(size), str(batch), *times, f"{rate / 1e12:.1f}", f"**{rate / ceiling:.0%}**"]


def wall_median(call: Callable[[], object], rounds: int, device: str) -> float:
    """Median seconds of a call on a device, after three to warm up."""
    synchronise = torch.cuda.synchronize if device == "cuda" else lambda: None
    times = []
    for _ in range(rounds + 3):
        synchronise()
        start = time.perf_counter()
        call()
        synchronise()
        times.append(time.perf_counter() - start)
    return statistics.median(times[3:])


def model_flop(name: str, size: int) -> float:
    """Operations that the model asks for, however it is computed: no padding, no positions in the products."""
    shape, side = SAM_ENCODERS[name], size // PATCH
    tokens, width = side**2, shape.width
    whole, rest = divmod(side, shape.window)
    squares = (whole * shape.window**2 + rest**2) ** 2  # pairs of a query and a key in windows
    pairs = len(shape.global_blocks) * tokens**2 + (shape.depth - len(shape.global_blocks)) * squares
    ends = tokens * (3 * PATCH**2 * width + width * EMBED_DIM + 9 * EMBED_DIM**2)
    return 2.0 * (shape.depth * tokens * 12 * width**2 + 2 * pairs * width + ends)


if __name__ == "__main__":
    main()
