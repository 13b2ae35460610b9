"""Whole networks, image to logits: ScSAM's small and large preset beside a U-Net of nnU-Net's shape.

    python benchmarks/network_speed.py
    python benchmarks/network_speed.py --rounds 9 --classes 4

Native voxels: pixels of the image, whatever the network enlarges inside, windows without overlap. Networks are in
evaluation mode without gradients; on a CPU one thread, process CPU time, all take turns, medians. Peak memory is
what a pass adds to a fresh process that holds the weights. Weights are random, which speed does not see.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

import torch
from measuring import in_fresh_process, interleaved_medians, machine, markdown, peak_growth_mib
from torch import nn

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.networks.compose import NONE, compose_scsam


class Case(NamedTuple):
    """A row of the table: a network, and windows as at inference."""

    network: str
    window: int
    batch: int


CASES = [
    Case("DynUNet", 512, 1),
    Case("DynUNet", 256, 4),
    Case("small", 256, 4),
    Case("small", 512, 1),
    Case("small, pyramid not enlarged", 256, 4),
    Case("small, no pyramid", 256, 4),
    Case("large, no pyramid", 512, 1),
]
PYRAMID = ("tf_efficientnet_lite0", 2)
SOURCES = {
    "small": ("vit_t", "mae_tiny", *PYRAMID),
    "small, pyramid not enlarged": ("vit_t", "mae_tiny", PYRAMID[0], 1),
    "small, no pyramid": ("vit_t", "mae_tiny", NONE, 1),
    "large, no pyramid": ("vit_b", "mae_base", NONE, 1),
}
"""SAM, MAE, pyramid and its zoom."""
HEADER = [
    "network",
    "window",
    "batch",
    "million parameters",
    "s a batch",
    "Mvoxel/s",
    "of the U-Net",
    "peak MiB",
]


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="passes of each network")
    parser.add_argument("--classes", type=int, default=8, help="output channels, background included")
    parser.add_argument("--only", default="", help="networks whose name starts so, beside the U-Net")
    parser.add_argument("--memory", type=int, metavar="ROW", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.memory is not None:
        print(memory(CASES[options.memory], options.classes))
        return
    print(f"{machine()}, medians of {options.rounds}, {options.classes} output channels\n")
    for line in markdown(HEADER, rows(options.classes, options.rounds, options.only)):
        print(line, flush=True)


def rows(n_classes: int, rounds: int, only: str) -> Iterator[list[str]]:
    """Measure all rows in turns, then yield them; the faster U-Net is the measure."""
    cases = [case for case in CASES if case.network.startswith((only, "DynUNet"))]
    networks = {name: build(name, n_classes) for name in dict.fromkeys(case.network for case in cases)}
    calls = {str(i): partial(networks[case.network], images(case)) for i, case in enumerate(cases)}
    seconds = list(interleaved_medians(calls, rounds).values())
    speeds = [case.batch * case.window**2 / s / 1e6 for case, s in zip(cases, seconds, strict=True)]
    peer = max(speed for case, speed in zip(cases, speeds, strict=True) if case.network == "DynUNet")
    for case, s, speed in zip(cases, seconds, speeds, strict=True):
        parameters = sum(p.numel() for p in networks[case.network].parameters()) / 1e6
        row = str(CASES.index(case))
        mib = in_fresh_process(__file__, "--memory", row, "--classes", str(n_classes))
        shape = [title(case.network), str(case.window), str(case.batch), f"{parameters:.1f}"]
        yield [*shape, f"{s:.3f}", f"{speed:.3f}", f"**{speed / peer:.2f}**", f"{mib:.0f}"]


def build(name: str, n_classes: int) -> nn.Module:
    """A network for inference, of random weights."""
    torch.manual_seed(0)
    if name == "DynUNet":
        return DynUNet2d(n_classes).eval()
    sam, mae, pyramid, zoom = SOURCES[name]
    return compose_scsam(
        n_classes, preset="plus", sam=sam, mae=mae, pyramid=pyramid, pyramid_zoom=zoom
    ).eval()


def title(name: str) -> str:
    """What the table calls a network."""
    return f"{name}: {' + '.join(SOURCES[name][:2])}" if name in SOURCES else name


def images(case: Case) -> torch.Tensor:
    """A batch of windows."""
    return torch.rand(case.batch, 1, case.window, case.window)


def memory(case: Case, n_classes: int) -> float:
    """MiB that a pass adds; the small pass before it sets libraries up."""
    network = build(case.network, n_classes)
    network(torch.rand(1, 1, 64, 64))
    return peak_growth_mib(partial(network, images(case)))


if __name__ == "__main__":
    main()
