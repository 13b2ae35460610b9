"""Clipping of gradients: it keeps their direction, and leaves small ones alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from monai.engines import IterationEvents
from tiny_run import Run

from scsam_monai.errors import InputError
from scsam_monai.training.handlers import ClipGradients

Items = list[dict[str, Any]]


def first_gradient(items: Items, run_dir: Path, max_norm: float | None) -> torch.Tensor:
    run = Run(items, run_dir, epochs=1, max_norm=max_norm)
    seen: list[torch.Tensor] = []

    def note() -> None:
        parts = [value.grad.flatten() for value in run.network.head.parameters() if value.grad is not None]
        seen.append(torch.cat(parts).clone())

    run.trainer.add_event_handler(IterationEvents.BACKWARD_COMPLETED, note)
    run()
    return seen[0]


def test_large_gradients_are_scaled_and_small_ones_left(items: Items, tmp_path: Path) -> None:
    free = first_gradient(items, tmp_path / "free", None)
    norm = float(free.norm())
    clipped = first_gradient(items, tmp_path / "clipped", norm / 10)
    assert float(clipped.norm()) == pytest.approx(norm / 10, rel=1e-3)
    torch.testing.assert_close(clipped, free / 10, rtol=1e-3, atol=1e-8)
    assert torch.equal(first_gradient(items, tmp_path / "wide", norm * 10), free)


@pytest.mark.parametrize("norm", [0, -1])
def test_refuses_what_is_no_norm(norm: float) -> None:
    with pytest.raises(InputError, match="clip_gradients: expected more than 0"):
        ClipGradients(torch.nn.Linear(1, 1), norm)
