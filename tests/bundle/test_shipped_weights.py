"""The weights that come with the bundle: whole, small enough, and usable in a fresh clone without any training."""

from __future__ import annotations

import json

import pytest
import tifffile
import torch

from scsam_monai.data.synthetic import VOCABULARY, generate_volume
from scsam_monai.io import write_stack
from scsam_monai.weights.build import build_scsam, load_weights, rebuild_scsam
from scsam_monai.weights.registry import WEIGHTS, verify

SHIPPED = [weights.name for weights in WEIGHTS.values() if weights.shipped]


def test_the_files_are_the_recorded_ones(bundle):
    names = ["recognition", "scsam_mae_tiny", "scsam_pyramid", "scsam_vit_t", "tf_efficientnet_lite0"]
    assert sorted(SHIPPED) == names
    for name in SHIPPED:
        for file in WEIGHTS[name].files:
            assert file.sha256 is not None
            assert (bundle / "models" / file.name).is_file()
            copies = [line for line in verify(name, bundle / "models") if line.file == file.name]
            assert copies
            assert {line.state for line in copies} == {"ok"}


def test_they_keep_the_repository_small(bundle):
    models = bundle / "models"
    sizes = [path.stat().st_size for path in (*models.glob("*.safetensors"), *models.glob("*.pt"))]
    assert max(sizes) < 20e6
    assert sum(sizes) < 45e6


def test_all_weights_together_are_within_their_share(bundle):
    models = bundle / "models"
    assert sum(path.stat().st_size for path in (*models.glob("*.safetensors"), models / "model.pt")) <= 45e6


def test_the_small_preset_is_frozen_like_the_large_ones(bundle):
    network = build_scsam(3, sam_weights="scsam_vit_t", mae_weights="scsam_mae_tiny")
    assert network.sam_encoder.frozen
    assert network.mae_encoder.frozen
    assert all(p.dtype == torch.float32 for p in network.parameters())


def test_the_trained_network_knows_its_classes_and_scale(bundle):
    path = bundle / "models" / "model.pt"
    record = json.loads(path.with_suffix(".json").read_text())
    assert record["class_names"] == list(VOCABULARY)
    network = rebuild_scsam(path)
    load_weights(network, path)
    assert float(network.pixel_size_nm) == record["pixel_size_nm"]
    assert network.eval()(torch.rand(1, 1, 64, 64)).shape == (1, len(VOCABULARY), 64, 64)


@pytest.fixture
def unseen(tmp_path):
    """A section of generated cells that no training saw, and its labels."""
    volume = generate_volume((1, 320, 320), (16.0, 16.0, 16.0), seed=123_456)
    write_stack(tmp_path / "images" / "section.tif", volume.image, (16.0, 16.0, 16.0))
    return tmp_path / "images", volume.labels


def test_a_section_is_segmented_without_any_training(unseen, monai_bundle, config, tmp_path):
    images, labels = unseen
    flags = ["--dataset_dir", str(images), "--output_dir", str(tmp_path / "out")]
    monai_bundle("run", "inferring", "--config_file", config("inference"), *flags)
    predicted = tifffile.imread(tmp_path / "out" / "section_labels.tif").reshape(labels.shape)
    for name in ("nucleus", "mitochondrion", "granule"):
        own, drawn = labels == VOCABULARY.index(name), predicted == VOCABULARY.index(name)
        assert (own & drawn).sum() > 0.3 * (own | drawn).sum(), name
