from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from registered import register
from safetensors.torch import load_file, save_file
from torch import Tensor

from scsam_monai.bundle_tools import pack
from scsam_monai.bundle_tools.pack import MANIFEST, pack_model, pack_weights
from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.networks.pyramid import PYRAMID, PyramidEncoder
from scsam_monai.weights.build import build_scsam, load_weights, rebuild_scsam
from scsam_monai.weights.packing import blanked, eight_bits, half, unpacked
from scsam_monai.weights.registry import WEIGHTS, read_manifest
from scsam_monai.weights.state_dicts import read_state_dict

N_CLASSES = 3


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return Path(shutil.copy(MANIFEST, tmp_path / "shipped.json"))


def listed(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_sam_is_packed_in_two_files_and_recorded(
    suffix: str,
    stock_state: dict[str, Tensor],
    target: Path,
    manifest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / f"best.{suffix}"
    save_file(stock_state, source) if suffix == "safetensors" else torch.save(stock_state, source)
    paths = pack_weights("scsam_vit_t", source, target, manifest)
    assert [path.name for path in paths] == listed(target)
    entries = read_manifest(manifest.read_text())
    for path, file in zip(paths, entries["scsam_vit_t"].files, strict=True):
        assert (path.name, path.stat().st_size) == (file.name, file.size)
        assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert path.stat().st_size < 7_000_000
    assert entries["scsam_mae_tiny"] == read_manifest(MANIFEST.read_text())["scsam_mae_tiny"]
    encoder, prompts = (load_file(path) for path in paths)
    assert {key.partition(".")[0] for key in encoder} == {"image_encoder"}
    assert {key.partition(".")[0] for key in prompts} == {"prompt_encoder", "mask_decoder"}
    assert paths[1].stat().st_size < 0.3 * sum(
        stock_state[key].nbytes for key in stock_state if key in prompts
    )
    monkeypatch.setitem(WEIGHTS, "scsam_vit_t", entries["scsam_vit_t"])
    network = build_scsam(N_CLASSES, sam_weights="scsam_vit_t", weights_dir=target, warn_untrained=False)
    key = "blocks.0.mlp.lin1.weight"
    expected = unpacked(eight_bits("file", {key: stock_state[f"image_encoder.{key}"]}))[key]
    assert torch.equal(network.sam_encoder.state_dict()[key], expected)


def test_mae_is_packed_in_one(target: Path, manifest: Path, mae_file: Path) -> None:
    (path,) = pack_weights("scsam_mae_tiny", mae_file, target, manifest)
    assert path.name == "scsam_mae_tiny.safetensors"
    MAEEncoder("mae_tiny").vit.load_state_dict(unpacked(load_file(path)))


def test_a_pyramid_is_recorded_where_a_manifest_is_named(
    target: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(7)
    save_file(PyramidEncoder(PYRAMID).model.state_dict(), tmp_path / "own.safetensors")
    (path,) = pack_weights(PYRAMID, tmp_path / "own.safetensors", target)
    assert read_manifest(MANIFEST.read_text())[PYRAMID] == WEIGHTS[PYRAMID]
    pack_weights(PYRAMID, tmp_path / "own.safetensors", target, manifest)
    (file,) = read_manifest(manifest.read_text())[PYRAMID].files
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest() != WEIGHTS[PYRAMID].files[0].sha256


def test_our_own_pyramid_is_recorded_under_its_name(target: Path, manifest: Path, tmp_path: Path) -> None:
    torch.manual_seed(7)
    save_file(PyramidEncoder(PYRAMID).model.state_dict(), tmp_path / "own.safetensors")
    (path,) = pack_weights("scsam_pyramid", tmp_path / "own.safetensors", target, manifest)
    assert path == target / "scsam_pyramid.safetensors"
    entries = read_manifest(manifest.read_text())
    (file,) = entries["scsam_pyramid"].files
    assert file.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert entries[PYRAMID] == WEIGHTS[PYRAMID]


def test_features_of_a_packed_encoder_differ_by_less_than_a_hundredth(
    mae_file: Path, target: Path, manifest: Path
) -> None:
    encoder = MAEEncoder("mae_tiny").eval()
    encoder.vit.load_state_dict(torch.load(mae_file, weights_only=True))
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        before = encoder(image)[0]
        (path,) = pack_weights("scsam_mae_tiny", mae_file, target, manifest)
        encoder.vit.load_state_dict(unpacked(load_file(path)))
        after = encoder(image)[0]
    assert not torch.equal(before, after)
    assert (after - before).norm() < 0.01 * before.norm()


def test_what_does_not_fit_is_refused_and_nothing_written(
    target: Path, manifest: Path, mae_file: Path, stock_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = manifest.read_text()
    with pytest.raises(InputError, match=r"mae_tiny\.pt: expected .* weights of this architecture"):
        pack_weights("scsam_vit_t", mae_file, target, manifest)
    with pytest.raises(InputError, match=r"sam_vit_b: expected weights of this project, met Meta's SAM"):
        pack_weights("sam_vit_b", stock_file, target, manifest)
    monkeypatch.setattr(pack, "MAX_BYTES", 5_000_000)
    with pytest.raises(InputError, match=r"encoder\.safetensors: expected at most 5\.0 MB, met 6\.\d MB"):
        pack_weights("scsam_vit_t", stock_file, target, manifest)
    assert not target.exists()
    assert manifest.read_text() == before


def test_half_keeps_small_tensors_and_integers() -> None:
    large = torch.rand(64, 64)
    state = {"large": large, "bias": torch.rand(64), "count": torch.arange(5000), "strided": large.T}
    packed = half("file", state)
    dtypes = {key: value.dtype for key, value in packed.items()}
    assert dtypes == {
        "large": torch.float16,
        "bias": torch.float32,
        "count": torch.int64,
        "strided": torch.float16,
    }
    assert packed["strided"].is_contiguous()
    with pytest.raises(InputError, match=r"file: expected finite values in few bits, met large"):
        half("file", {"large": large * 1e6})


def test_eight_bits_come_back_within_half_a_step_of_their_row() -> None:
    rows = torch.randn(64, 8, 3, 3) * torch.logspace(-3, 3, 64).view(-1, 1, 1, 1)
    rows[5] = 0
    state = {"rows": rows, "flat": torch.randn(5000), "bias": torch.rand(64), "count": torch.arange(5000)}
    packed = eight_bits("file", state)
    assert packed["rows"].dtype == torch.int8
    back = unpacked(packed)
    assert list(back) == list(state)
    assert {key: value.dtype for key, value in back.items()} == {
        key: value.dtype for key, value in state.items()
    }
    assert torch.equal(back["bias"], state["bias"])
    assert torch.equal(back["count"], state["count"])
    steps = rows.flatten(1).abs().amax(1) / 127
    assert ((back["rows"] - rows).flatten(1).abs().amax(1) <= 0.501 * steps).all()
    assert torch.equal(back["rows"][5], rows[5])
    with pytest.raises(InputError, match=r"file: expected finite values in few bits, met rows"):
        eight_bits("file", {"rows": rows / 0})


def test_what_nothing_reads_takes_no_room(tmp_path: Path) -> None:
    state = {"used": torch.rand(64, 64), "idle": torch.rand(256, 256)}
    torch.save(blanked(state, frozenset({"idle"})), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < state["used"].nbytes + 4096
    read = read_state_dict(tmp_path / "state.pt")
    assert torch.equal(read["used"], state["used"])
    assert read["idle"].shape == (256, 256)


def test_all_shipped_weights_together_are_within_their_share_of_the_repository(tmp_path: Path) -> None:
    models = bundle_folder() / "models"
    assert {path.name for path in models.glob("*.safetensors")} == {
        file.name for weights in WEIGHTS.values() if weights.shipped for file in weights.files
    }
    model = pack_model(models / "model.pt", tmp_path)[0]
    assert sum(path.stat().st_size for path in (*models.glob("*.safetensors"), model)) <= 45_000_000


@pytest.fixture
def run(named: Path, tmp_path: Path) -> Path:
    """What a run on named encoders leaves."""
    torch.manual_seed(3)
    network = build_scsam(
        N_CLASSES, sam_weights="sam", mae_weights="mae", weights_dir=named, pixel_size_nm=4.6
    )
    path = tmp_path / "run" / "model.pt"
    path.parent.mkdir()
    torch.save(network.state_dict(), path)
    record = {"network": network.recipe, "class_names": ["a", "b", "c"]}
    record["model_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


def test_a_model_may_be_told_to_work_at_other_pixels(run: Path, named: Path) -> None:
    path, record = pack_model(run, named, 8)
    network = rebuild_scsam(path)
    load_weights(network, path)
    assert network.pixel_size_nm.item() == json.loads(record.read_text())["pixel_size_nm"] == 8


@torch.no_grad()
def test_model_is_packed_with_its_record(run: Path, named: Path) -> None:
    paths = pack_model(run, named)
    assert [path.name for path in paths] == ["model.pt", "model.json"]
    record = json.loads(paths[1].read_text())
    assert record["model_sha256"] == hashlib.sha256(paths[0].read_bytes()).hexdigest()
    assert record["class_names"] == ["a", "b", "c"]
    assert paths[0].stat().st_size < 0.6 * run.stat().st_size
    packed, trained = rebuild_scsam(paths[0]).eval(), rebuild_scsam(run, weights_dir=named).eval()
    load_weights(packed, paths[0])
    load_weights(trained, run)
    assert packed.pixel_size_nm.item() == trained.pixel_size_nm.item() == pytest.approx(4.6)
    assert {p.dtype for p in packed.parameters()} == {torch.float32}
    image = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(packed(image), trained(image), atol=2e-2, rtol=2e-2)


def test_model_with_encoders_or_without_record_is_refused(run: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.pt"
    torch.save(build_scsam(N_CLASSES, warn_untrained=False).state_dict(), whole)
    with pytest.raises(InputError, match=r"whole\.pt: expected weights without encoders"):
        pack_model(whole, tmp_path / "models")
    run.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"model\.json: expected what the weights are, met no such file"):
        pack_model(run, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_model_of_encoders_that_were_packed_anew_is_refused(
    run: Path, named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(9)
    save_file(MAEEncoder("mae_tiny").vit.state_dict(), named / "mae.safetensors")
    register(monkeypatch, "mae", {"mae.safetensors": (named / "mae.safetensors").read_bytes()}, kind="mae")
    before = listed(named)
    with pytest.raises(InputError, match=r"model\.pt: .*met another mae_encoder"):
        pack_model(run, named)
    assert listed(named) == before
