from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import frozen_run
import pytest
import torch
from frozen_run import engine_of, entries, frozen_network, pool

from scsam_monai.errors import InputError
from scsam_monai.networks.scsam import ScSAM
from scsam_monai.training.cache import FillCache
from scsam_monai.training.cache.fill import parse_mode
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.optimiser import CpuBudget

Items = list[dict[str, Any]]
FillerOf = Callable[..., FillCache]
N_IMAGES = 8
"""Two views of four crops."""


class Counting:
    """Counts the images that a network's encoders see."""

    def __init__(self, network: ScSAM, monkeypatch: pytest.MonkeyPatch) -> None:
        self.images = 0
        encode = network.encode

        def counted(image: torch.Tensor) -> Any:
            self.images += len(image)
            return encode(image)

        monkeypatch.setattr(network, "encode", counted)


def disk_of(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 10**12 - free, free))


def test_everything_that_a_run_shows_is_there_before_it_starts(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path, monkeypatch: Any
) -> None:
    filler = filler_of(network, crops)
    filler(engine_of(epochs=4))
    files = entries(tmp_path / "cache")
    assert len(files) == N_IMAGES
    encoder = Counting(network, monkeypatch)
    for epoch in range(1, 5):
        crops.set_epoch(epoch)
        for index in range(len(crops)):
            assert filler.cache.embeddings(crops[index]["image"][None]) is not None
    assert encoder.images == 0
    assert entries(tmp_path / "cache") == files


def test_the_size_told_is_the_size_written(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path, caplog: Any
) -> None:
    filler = filler_of(network, crops, plain_crops=3)
    plans: list[Any] = []
    agree = filler._agree
    filler._agree = lambda plan: plans.append(plan) or agree(plan)  # type: ignore
    with caplog.at_level(logging.INFO):
        filler(engine_of(epochs=2))
    files = entries(tmp_path / "cache")
    assert len(files) == plans[0].missing == N_IMAGES + 3
    assert sum(path.stat().st_size for path in files) == plans[0].bytes
    assert f"embeddings of {N_IMAGES + 3} images: 0 are there, {N_IMAGES + 3} to encode" in caplog.text
    assert f"{plans[0].bytes / 1e3:.0f} kB needed in" in caplog.text


def test_only_the_epochs_left_are_prepared(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path
) -> None:
    filler_of(network, crops, plain_crops=3)(engine_of(epochs=4, epoch=3, resumed=True))
    assert len(entries(tmp_path / "cache")) == len(crops)


def test_a_second_run_encodes_nothing(
    crops: BalancedCropDataset, filler_of: FillerOf, monkeypatch: Any
) -> None:
    filler_of(frozen_network(), crops)(engine_of(epochs=2))
    again = frozen_network()
    encoder = Counting(again, monkeypatch)
    filler_of(again, crops)(engine_of(epochs=2))
    assert encoder.images == 0


def test_progress_reaches_the_end(network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf) -> None:
    calls: list[tuple[int, int]] = []
    filler = filler_of(network, crops, batch_size=3, progress=lambda *call: calls.append(call))
    filler(engine_of(epochs=2))
    assert calls == [(3, 8), (6, 8), (8, 8)]


def test_too_little_room_is_refused_before_anything_is_written(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path, monkeypatch: Any
) -> None:
    disk_of(monkeypatch, free=10_000)
    with pytest.raises(
        InputError, match=r"cache: expected .* kB free in .* for 8 images, met 10 kB; name another cache_dir"
    ):
        filler_of(network, crops)(engine_of(epochs=2))
    assert not (tmp_path / "cache").exists()


def test_what_is_there_needs_no_room(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, monkeypatch: Any
) -> None:
    filler_of(network, crops)(engine_of(epochs=2))
    disk_of(monkeypatch, free=0)
    filler_of(network, crops)(engine_of(epochs=2))


def test_a_disk_that_fills_up_meanwhile_is_a_clear_error(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path, monkeypatch: Any
) -> None:
    write, calls = Path.write_bytes, []

    def full(path: Path, content: bytes) -> int:
        calls.append(path)
        if len(calls) > 3:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="met No space left on device; name another cache_dir"):
        filler_of(network, crops)(engine_of(epochs=2))
    assert len(entries(tmp_path / "cache")) == 3
    monkeypatch.setattr(Path, "write_bytes", write)
    filler_of(network, crops)(engine_of(epochs=2))
    assert len(entries(tmp_path / "cache")) == N_IMAGES


def test_a_file_where_the_folder_should_be_is_refused(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="expected a folder that can be written to"):
        filler_of(network, crops, folder=tmp_path / "file")(engine_of(epochs=2))
    filler = filler_of(network, crops, folder=tmp_path / "file", mode="auto")
    filler(engine_of(epochs=4))
    assert not filler.cache.active


@pytest.mark.parametrize("damage", [b"", b"x" * 50, None])
def test_a_damaged_entry_is_computed_again(
    damage: bytes | None,
    network: ScSAM,
    crops: BalancedCropDataset,
    filler_of: FillerOf,
    tmp_path: Path,
    monkeypatch: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    filler = filler_of(network, crops)
    filler(engine_of(epochs=2))
    image = crops[0]["image"][None]
    path = filler.cache.store.path(filler.cache.store.key(image[0]))
    sound, known = path.read_bytes(), filler.cache.embeddings(image)
    # None: one flipped bit, in a file of the right size, which only the checksum can tell.
    path.write_bytes(bytes([*sound[:-1], sound[-1] ^ 4]) if damage is None else damage)
    encoder = Counting(network, monkeypatch)
    again = filler.cache.embeddings(image)
    assert encoder.images == 1
    assert "is damaged and will be computed again" in caplog.text
    assert known is not None
    assert again is not None
    torch.testing.assert_close(again.mae, known.mae)
    assert path.read_bytes() == sound


def test_a_truncated_entry_is_filled_again(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path, monkeypatch: Any
) -> None:
    filler_of(network, crops)(engine_of(epochs=2))
    path = entries(tmp_path / "cache")[3]
    sound = path.read_bytes()
    path.write_bytes(sound[:-100])
    encoder = Counting(network, monkeypatch)
    filler_of(network, crops)(engine_of(epochs=2))
    assert encoder.images <= 2  # that entry, and the first one if that had to tell the size
    assert path.read_bytes() == sound


def start_process(items: Items, folder: Path, fatal: int = -1) -> subprocess.Popen[bytes]:
    words = [sys.executable, frozen_run.__file__, json.dumps(items), str(folder), str(fatal)]
    return subprocess.Popen(words, stderr=subprocess.PIPE)


def test_a_killed_filling_goes_on_where_it_was(
    items: Items, network: ScSAM, filler_of: FillerOf, tmp_path: Path, monkeypatch: Any
) -> None:
    folder = tmp_path / "cache"
    killed = start_process(items, folder, fatal=3)
    assert killed.wait(timeout=120) == 9
    before = {path: path.stat().st_mtime_ns for path in entries(folder)}
    assert len(before) == 3
    encoder = Counting(network, monkeypatch)
    filler_of(network, pool(items))(engine_of(epochs=4))
    assert len(entries(folder)) == N_IMAGES
    assert encoder.images <= N_IMAGES - 3 + 1
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_two_processes_fill_one_cache(
    items: Items, network: ScSAM, filler_of: FillerOf, tmp_path: Path
) -> None:
    folder = tmp_path / "cache"
    processes = [start_process(items, folder) for _ in range(2)]
    for process in processes:
        assert process.wait(timeout=120) == 0, process.stderr and process.stderr.read()
    assert len(entries(folder)) == N_IMAGES
    crops = pool(items)
    filler = filler_of(network, crops)
    filler(engine_of(epochs=2))
    for index in range(len(crops)):
        image = crops[index]["image"][None]
        known = filler.cache.embeddings(image)
        assert known is not None
        torch.testing.assert_close(
            known.sam.embedding,  # type: ignore[union-attr]
            network.encode(image).sam.embedding,  # type: ignore[union-attr]
            rtol=1e-3,
            atol=1e-3,
        )


def test_without_room_in_training_it_goes_on_without_keeping(
    network: ScSAM,
    crops: BalancedCropDataset,
    filler_of: FillerOf,
    tmp_path: Path,
    monkeypatch: Any,
    caplog: Any,
) -> None:
    filler = filler_of(network, crops)
    filler(engine_of(epochs=2))
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("in the way")
    known = filler.cache.embeddings(torch.rand(2, 1, 32, 32))
    assert known is not None
    assert known.grid == (2, 2)
    assert caplog.text.count("computed but not kept") == 1


def test_a_budget_can_pay_for_training_alone(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path
) -> None:
    budget = CpuBudget(minutes=10)
    filler = filler_of(network, crops, count_encoding=False)
    filler(engine_of(epochs=2, budget=budget))
    assert filler.cache.cpu_seconds > 0.05
    assert budget.spent < filler.cache.cpu_seconds
    assert len(entries(tmp_path / "cache")) == N_IMAGES


def test_a_budget_that_pays_for_encoding_is_not_spent_on_what_is_never_shown(
    network: ScSAM, crops: BalancedCropDataset, filler_of: FillerOf, tmp_path: Path
) -> None:
    filler = filler_of(network, crops, count_encoding=True)
    filler(engine_of(epochs=2, budget=CpuBudget(minutes=10)))
    assert filler.cache.active
    assert not entries(tmp_path / "cache")
    filler.cache.embeddings(torch.stack([crops[0]["image"], crops[1]["image"]]))
    assert len(entries(tmp_path / "cache")) == 2


def test_modes_as_json_and_command_lines_spell_them() -> None:
    assert [parse_mode(value) for value in (True, False, "on", "OFF", "auto")] == [
        "on",
        "off",
        "on",
        "off",
        "auto",
    ]
    with pytest.raises(InputError, match="cache: expected one of auto, on, off, met 'maybe'"):
        parse_mode("maybe")


def test_one_encoder_alone_can_be_cached(items: Items, filler_of: FillerOf) -> None:
    filler = filler_of(frozen_network(fusion="sam"), pool(items))
    filler(engine_of(2))
    known = filler.cache.embeddings(torch.rand(1, 1, 32, 32))
    assert known is not None
    assert known.mae is None
