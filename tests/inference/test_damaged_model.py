"""A model whose file is not the recorded one, or holds no numbers, is refused wherever it is opened."""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from front_door import CLASSES, VOXEL_NM, WINDOWS, grey
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import sha256_of
from scsam_monai.inference import Model, open_model, segment
from scsam_monai.inference.model import ModelFile
from scsam_monai.inference.monai_inferer import SliceWiseInferer
from scsam_monai.inference.planning import plan_job
from scsam_monai.weights import model_file
from scsam_monai.weights.build import build_or_continue, build_scsam, load_weights, rebuild_scsam

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"


def record_of(model: Path) -> dict[str, Any]:
    return json.loads(model.with_suffix(".json").read_text())


def write_record(model: Path, **facts: Any) -> None:
    model.with_suffix(".json").write_text(json.dumps(record_of(model) | facts))


@pytest.fixture
def model(model_path: Path, tmp_path: Path) -> Path:
    """A model of its own with its hash on record, as training writes it."""
    path = tmp_path / "models" / "model.pt"
    path.parent.mkdir()
    for suffix in (".pt", ".json"):
        shutil.copy(model_path.with_suffix(suffix), path.with_suffix(suffix))
    write_record(path, model_sha256=sha256_of(path))
    return path


@pytest.fixture
def damaged(model: Path) -> Path:
    """One bit of its largest tensor is another one; PyTorch reads it without a word."""
    with zipfile.ZipFile(model) as archive:
        largest = max(archive.infolist(), key=lambda member: member.file_size)
        start = largest.header_offset + 1000 + largest.file_size // 2
    content = bytearray(model.read_bytes())
    content[start] ^= 0x40
    model.write_bytes(content)
    torch.load(model, weights_only=True)
    return model


def run(*words: object) -> None:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    if result.exit_code:
        assert result.stderr.splitlines()[-1].startswith("error: ")
        raise InputError("scsam", expected="", met=result.stderr, remedy="")


def light(model: Path, folder: Path) -> None:
    build_scsam(len(CLASSES), preset="paper", tokens=2, light_weights=model, warn_untrained=False)


def predicted(model: Path, folder: Path) -> None:
    np.save(folder / "cell.npy", grey(2, 64, 64))
    size = ("--voxel-size-nm", "16,16,16", "--device", "cpu")
    run("predict", folder / "cell.npy", folder / "out.ome.zarr", "--model", model, *size)


DOORS: dict[str, Callable[[Path, Path], object]] = {
    "open_model": lambda model, folder: open_model(model, "cpu"),
    "segment": lambda model, folder: segment(grey(2, 64, 64), model, VOXEL_NM, device="cpu"),
    "predict": predicted,
    "configs": lambda model, folder: load_weights(rebuild_scsam(model), model),
    "start_from": lambda model, folder: build_or_continue(len(CLASSES), start_from=model),
    "light_weights": light,
    "export": lambda model, folder: run(
        *("export", "torchscript", folder / "m.ts", "--model", model, "--window", 64)
    ),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_flipped_bit_is_met_at_every_door(damaged: Path, tmp_path: Path, door: str) -> None:
    with pytest.raises(InputError, match=r"expected the weights that model\.json describes, sha256 \w{12}"):
        DOORS[door](damaged, tmp_path)
    assert not (tmp_path / "out.ome.zarr").exists()


@pytest.mark.parametrize("door", DOORS)
def test_a_flipped_bit_is_met_by_its_checksum_where_no_hash_was_recorded(
    damaged: Path, tmp_path: Path, door: str
) -> None:
    write_record(damaged, model_sha256=None)
    with pytest.raises(InputError, match=r"model\.pt: expected whole weights, met damage in \S+/data/"):
        DOORS[door](damaged, tmp_path)


@pytest.mark.parametrize("config", ["inference", "evaluate"])
def test_the_configs_load_by_the_function_that_looks(config: str) -> None:
    content = json.loads((CONFIGS / f"{config}.json").read_text())
    assert "$load_weights(@network_def, @ckpt_path)" in content["initialize"]


def test_a_record_without_a_hash_is_one_line_of_warning(
    model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_record(model, model_sha256=None)
    with caplog.at_level(logging.WARNING):
        open_model(model, "cpu")
    assert [record.message for record in caplog.records if "no hash of it is recorded" in record.message] == [
        f"{model}: no hash of it is recorded in model.json, damage may go unnoticed"
    ]


def test_the_content_is_hashed_once(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    digest = model_file.hashlib.file_digest

    def counted(stream: Any, name: str) -> Any:
        calls.append(stream.name)
        return digest(stream, name)

    monkeypatch.setattr(model_file.hashlib, "file_digest", counted)
    np.save(tmp_path / "cell.npy", grey(2, 64, 64))
    plan_job(
        tmp_path / "cell.npy",
        tmp_path / "out.ome.zarr",
        ModelFile(model),
        voxel_size_nm=VOXEL_NM,
        windows=WINDOWS,
        device="cpu",
    )
    assert calls == [str(model)]


def test_a_stop_between_weights_and_record_loses_neither(model: Path, damaged: Path) -> None:
    coming = record_of(model) | {"model_sha256": sha256_of(model), "epoch": 7}
    model_file.next_record(model).write_text(json.dumps(coming))
    file = ModelFile(model)
    assert file.sha256 == sha256_of(model)
    assert file.record["epoch"] == 7


def respoilt(model: Path, value: float) -> Path:
    """One weight is no number, and the record says so many bytes."""
    state = torch.load(model, weights_only=True)
    state["mask_decoder.sam.transformer.norm_final_attn.weight"][0] = value
    torch.save(state, model)
    write_record(model, model_sha256=sha256_of(model))
    return model


@pytest.mark.parametrize("door", DOORS)
def test_one_weight_that_is_no_number_is_refused(model: Path, tmp_path: Path, door: str) -> None:
    with pytest.raises(InputError, match=r"expected finite weights, met 1 of 256 not finite in mask_decoder"):
        DOORS[door](respoilt(model, float("nan")), tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_are_refused(opened: Model, value: float) -> None:
    def spoilt(image: torch.Tensor) -> torch.Tensor:
        logits = opened.network(image)
        logits[0, 1, 5, 5] = value
        return logits

    with pytest.raises(InputError, match="logits: expected finite numbers from the network, met"):
        SliceWiseInferer(roi_size=64, argmax=True, pixel_size_nm=16, voxel_size_nm=VOXEL_NM)(
            torch.rand(1, 1, 64, 64), spoilt
        )
    spoilt_model = Model(spoilt, opened.class_names, 16.0, opened.device)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="logits: expected finite numbers from the network, met"):
        segment(grey(2, 64, 64), spoilt_model, VOXEL_NM, windows=WINDOWS)


def test_a_model_is_told_in_one_line(opened: Model) -> None:
    assert "\n" not in repr(opened)
    assert "3 classes (background, nucleus, granule), 16 nm per pixel, on cpu" in repr(opened)
