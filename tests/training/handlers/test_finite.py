"""A training whose loss is no number, or whose disk is full, ends with an error and keeps what was good."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from safetensors.torch import load_file
from tiny_run import CROPS, STEPS, Run
from torch import nn

from scsam_monai.errors import InputError
from scsam_monai.training.handlers import BestWeights, FiniteLoss, SavePart
from scsam_monai.training.handlers.finite import FirstNotFinite

Items = list[dict[str, Any]]
NAN = float("nan")


def read(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


@pytest.mark.parametrize("value", [NAN, float("inf")])
def test_training_ends_at_the_first_loss_that_is_not_finite(
    items: Items, tmp_path: Path, value: float
) -> None:
    def spoil(step: int) -> None:
        if step == STEPS + 1:
            nn.init.constant_(run.network.head[2].bias, value)

    run = Run(items, tmp_path, at_step=spoil)
    with pytest.raises(
        InputError,
        match=rf"loss: expected a finite number at every step, met nan at step {STEPS + 2}; lower the",
    ):
        run()
    assert read(tmp_path / "last.pt")["progress"]["iteration"] == STEPS
    assert all(tensor.isfinite().all() for tensor in read(tmp_path / "model.pt").values())


def test_weights_that_the_last_step_of_an_epoch_spoils_are_not_kept(items: Items, tmp_path: Path) -> None:
    def spoil(step: int) -> None:
        if step == 2 * STEPS:
            nn.init.constant_(run.network.head[2].bias, NAN)

    run = Run(items, tmp_path, at_step=spoil)
    with pytest.raises(
        InputError, match=r"weights after epoch 2: expected finite weights, met 3 of 3 not finite"
    ):
        run()
    assert read(tmp_path / "last.pt")["progress"]["iteration"] == STEPS


def test_a_score_of_spoilt_weights_does_not_make_them_the_best(tmp_path: Path) -> None:
    network, engine = nn.Linear(2, 1), Engine(lambda engine, batch: None)
    handler = BestWeights(tmp_path / "model.pt", network, "mean_iou")
    engine.state.epoch, engine.state.metrics = 1, {"mean_iou": torch.tensor(0.5)}
    handler(engine)
    nn.init.constant_(network.weight, NAN)
    engine.state.metrics = {"mean_iou": torch.tensor(0.9)}
    with pytest.raises(InputError, match="weights after epoch 1: expected finite weights"):
        handler(engine)
    assert read(tmp_path / "model.pt")["weight"].isfinite().all()


def test_a_gpu_is_asked_now_and_then_and_the_first_step_is_told() -> None:
    first = FirstNotFinite()
    for step, loss in enumerate([1.0, NAN, 3.0, float("inf")], start=1):
        first.note(torch.tensor(loss), step)
    with pytest.raises(InputError, match="met nan at step 2"):
        first.check()


def test_a_step_without_a_bad_loss_is_no_news() -> None:
    engine = Engine(lambda engine, batch: [{"loss": torch.tensor(1.0)}])
    FiniteLoss().attach(engine)
    engine.run([0, 1], max_epochs=2)


@contextmanager
def room(size: int) -> Iterator[None]:
    """Files cannot grow beyond a size meanwhile, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 300, 900])
def test_a_full_disk_is_one_line_and_the_checkpoint_stays(items: Items, tmp_path: Path, size: int) -> None:
    run = Run(items, tmp_path, epochs=1)
    run()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    run.best.metric = 0.0
    with room(size):
        for write in (lambda: run.checkpoint.save(run.trainer), lambda: run.best._write("norm")):
            with pytest.raises(
                InputError, match=r"expected room on the disk, met disk full; free some space and"
            ):
                write()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_full_disk_is_one_line_for_safetensors(tmp_path: Path) -> None:
    network = nn.Linear(100, 10)
    engine = Engine(lambda engine, batch: None)
    SavePart(tmp_path / "part.safetensors", network)(engine)
    with room(100), pytest.raises(InputError, match="expected room on the disk, met disk full"):
        SavePart(tmp_path / "part.safetensors", network)(engine)
    assert load_file(tmp_path / "part.safetensors")["weight"].shape == (10, 100)
    assert [path.name for path in tmp_path.iterdir()] == ["part.safetensors"]


def test_a_checkpoint_with_a_flipped_bit_is_not_gone_on_with(items: Items, tmp_path: Path) -> None:
    Run(items, tmp_path, epochs=1)()
    path = tmp_path / "last.pt"
    content = bytearray(path.read_bytes())
    spot = content.find(read(path)["network"]["head.2.weight"].numpy().tobytes())
    content[spot + 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"last\.pt: expected a checkpoint to resume, met a broken file"):
        Run(items, tmp_path, resume=True, crops=CROPS)()
