"""The parts of ``check.py`` about the networks around SAM's encoder: their speed, and that of training steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from encoder_speed import wall_median
from encoders import Row, device_of, graph_seconds, half
from torch import Tensor, nn

from scsam_monai.networks.class_prompt import ClassPromptEncoder
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import Freezable
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.mask_decoder import ClassMaskDecoder
from scsam_monai.training.losses import ScSAMLoss
from scsam_monai.training.optimiser import parameter_groups

ROUNDS = 8
ENCODERS = {"small": ("vit_t", "mae_tiny"), "large": ("vit_b", "mae_base")}


class Last(nn.Module):
    """An MAE encoder's deepest features."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.encoder = MAEEncoder(name)

    def forward(self, image: Tensor) -> Tensor:
        """Encode ``(B, 1, H, W)``."""
        with half(image):
            features: tuple[Tensor, ...] = self.encoder(image)
        return features[-1]


class Decoder(nn.Module):
    """Prompts and masks of all classes from fused features."""

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        self.prompts, self.masks = ClassPromptEncoder(n_classes), ClassMaskDecoder()

    def forward(self, features: Tensor) -> Tensor:
        """Decode ``(B, 256, g, g)``."""
        with half(features):
            masks: Tensor = self.masks(features, self.prompts(features))
        return masks


@torch.no_grad()
def networks(rehearse: bool) -> Iterator[Row]:
    """One pass of each network, launched kernel by kernel and as a graph."""
    device = device_of(rehearse)
    tiny, sam, base = ("mae_tiny", "small", "small") if rehearse else ("mae_tiny", "small", "large")
    full, batch = (64, 2) if rehearse else (512, 16)
    cases: list[tuple[str, Callable[[], nn.Module], tuple[int, ...]]] = [
        (f"ScSAM {sam}", partial(scsam, sam), (batch, 1, full // 2, full // 2)),
        ("decoder, 4 classes", partial(Decoder, 4), (batch, 256, full // 16, full // 16)),
        ("decoder, 8 classes", partial(Decoder, 8), (batch, 256, full // 16, full // 16)),
        ("MAE mae_tiny, full input", partial(Last, tiny), (4 * batch, 1, full // 2, full // 2)),
        ("MAE mae_tiny, half input", partial(Last, tiny), (4 * batch, 1, full // 4, full // 4)),
        (f"ScSAM {base}", partial(scsam, base), (batch // 2, 1, full, full)),
    ]
    if not rehearse:
        cases += [
            ("MAE mae_base, full input", partial(Last, "mae_base"), (batch, 1, full, full)),
            ("MAE mae_base, half input", partial(Last, "mae_base"), (batch, 1, full // 2, full // 2)),
        ]
    for name, build, shape in cases:
        network, x = build().eval().requires_grad_(False).to(device), torch.rand(shape, device=device)
        eager = wall_median(partial(network, x), ROUNDS, device)
        graph = graph_seconds(network, x, ROUNDS, device)
        yield {
            "network": name,
            "input": "x".join(map(str, shape)),
            "eager ms": f"{eager * 1e3:.2f}",
            "graph ms": f"{graph * 1e3:.2f}",
        }


def scsam(name: str) -> nn.Module:
    """A whole network with random weights."""
    torch.manual_seed(0)
    sam, mae = ENCODERS[name]
    return compose_scsam(8, preset="plus", sam=sam, mae=mae)


def training(rehearse: bool) -> Iterator[Row]:
    """Optimisation steps on random crops; cached embeddings are on the device already."""
    device = device_of(rehearse)
    size = 64 if rehearse else 256
    cases = [("small", 2)] if rehearse else [("small", 2), ("small", 32), ("large", 8)]
    for name, batch in cases:
        network = scsam(name).to(device)
        for part in network.children():
            if isinstance(part, Freezable):
                part.freeze()
        network.train()
        image = torch.rand(batch, 1, size, size, device=device)
        target = {
            "label": torch.randint(0, 8, (batch, 1, size, size), device=device),
            "annotated": torch.ones(batch, 8, dtype=torch.bool, device=device),
        }
        loss = ScSAMLoss(rank_interval=0)
        optimizer = torch.optim.AdamW(parameter_groups(network, 1e-4), fused=True)
        with torch.no_grad():
            embeddings = network.encode(image)  # type: ignore[operator]

        def step(**known: Any) -> None:
            prediction = network(image, **known)  # noqa: B023
            optimizer.zero_grad()  # noqa: B023
            loss(prediction, target).backward()  # noqa: B023
            optimizer.step()  # noqa: B023

        encoding = wall_median(step, ROUNDS, device)
        cached = wall_median(partial(step, embeddings=embeddings), ROUNDS, device)
        yield {
            "network": name,
            "crop": size,
            "batch": batch,
            "steps/s, encoding": f"{1 / encoding:.1f}",
            "steps/s, cached": f"{1 / cached:.1f}",
            "ratio": f"{encoding / cached:.2f}",
        }
