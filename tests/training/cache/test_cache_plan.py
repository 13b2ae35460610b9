from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from frozen_run import engine_of, entries, pool

from scsam_monai.baselines.unet import DynUNet2d
from scsam_monai.errors import InputError
from scsam_monai.networks.compose import compose_scsam
from scsam_monai.networks.frozen_encoders import encoders
from scsam_monai.networks.pyramid import PYRAMID
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.cache import FillCache
from scsam_monai.training.cache.plan import Plan, choose
from scsam_monai.training.crops import BalancedCropDataset

FillerOf = Callable[..., FillCache]
Items = list[dict[str, Any]]


def plan(**facts: int) -> Plan:
    known = {"shown": 100, "images": 50, "missing": 50, "entry_bytes": 1000, "free_bytes": 10**6}
    return Plan(Path("cache"), **{**known, **facts})


@pytest.mark.parametrize(
    ("facts", "use", "why"),
    [
        ({}, True, "100 images to show, 50 different ones, 50 to encode"),
        ({"images": 80, "missing": 80}, False, "each comes 1.2 times, too seldom to pay"),
        ({"images": 80, "missing": 0}, False, "too seldom to pay"),
        ({"free_bytes": 55_000}, False, "not enough room, 50 kB needed"),
        ({"free_bytes": 56_000}, True, "to encode"),
        ({"free_bytes": 0, "missing": 0}, True, "0 to encode"),
    ],
)
def test_auto_weighs_repetitions_and_room(facts: dict[str, int], use: bool, why: str) -> None:
    decided, reason = choose(plan(**facts))
    assert decided is use
    assert why in reason


def start(filler: FillCache, epochs: int, caplog: pytest.LogCaptureFixture) -> str:
    with caplog.at_level(logging.INFO):
        filler(engine_of(epochs))
    return caplog.text


def test_auto_says_in_one_line_what_it_chose(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, caplog: Any, tmp_path: Path
) -> None:
    seldom = filler_of(network, crops, mode="auto")
    assert "embedding cache off: 8 images to show, 8 different ones" in start(seldom, 2, caplog)
    assert not seldom.cache.active
    assert not entries(tmp_path / "cache")
    often = filler_of(network, crops, mode="auto")
    assert "embedding cache on: 16 images to show, 8 different ones, 8 to encode" in start(often, 4, caplog)
    assert often.cache.active
    again = filler_of(network, crops, mode="auto")
    assert "embedding cache on: 16 images to show, 8 different ones, 0 to encode" in start(again, 4, caplog)
    # What is there already decides nothing, or a resumed run would go on in another precision.
    assert "embedding cache off: 8 images to show, 8 different ones" in start(seldom, 2, caplog)


def test_off_reads_nothing(network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf) -> None:
    filler = filler_of(network, crops, mode="off")
    filler(engine_of(8))
    batch = {name: value[None] for name, value in crops[0].items()}
    assert len(filler.cache.prepare_batch(batch, "cpu")) == 2
    assert filler.cache.embeddings(batch["image"]) is None


@pytest.mark.parametrize("part", ["sam_encoder", "mae_encoder", "sources.pyramid"])
def test_trainable_encoders(
    part: str, crops: BalancedCropDataset, filler_of: FillerOf, caplog: pytest.LogCaptureFixture
) -> None:
    network = compose_scsam(3, pyramid=PYRAMID)
    for name, encoder in encoders(network):
        if name != part:
            encoder.freeze()
    with pytest.raises(
        InputError, match=f"cache: expected frozen encoders, met trainable {part}; freeze them"
    ):
        filler_of(network, crops)(engine_of(4))
    assert f"embedding cache off: trainable {part}" in start(
        filler_of(network, crops, mode="auto"), 4, caplog
    )


def test_images_that_never_come_again(network: ScSAM, items: Items, filler_of: FillerOf, caplog: Any) -> None:
    passing = pool(items, augmentation="epoch")
    with pytest.raises(InputError, match="met augmentation drawn anew each epoch; set augmentation to view"):
        filler_of(network, passing)(engine_of(4))
    assert "embedding cache off: augmentation" in start(filler_of(network, passing, mode="auto"), 4, caplog)


def test_a_peer_trains_as_if_there_were_no_cache(
    crops: BalancedCropDataset, filler_of: FillerOf, caplog: pytest.LogCaptureFixture
) -> None:
    peer = DynUNet2d(n_classes=3)
    filler = filler_of(peer, crops, mode="auto")
    assert "embedding cache off: DynUNet2d without encoders" in start(filler, 4, caplog)
    batch = {name: value[None] for name, value in crops[0].items()}
    image, target = filler.cache.prepare_batch(batch, "cpu")
    assert torch.equal(image, batch["image"])
    assert set(target) == {"label", "annotated"}
    with pytest.raises(InputError, match="cache: expected a network with frozen encoders"):
        filler_of(peer, crops)(engine_of(4))
