"""Whatever is wrong with the input, one line says so, before anything is computed or written."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tifffile
import torch

from scsam_monai.data.checks import open_dataset
from scsam_monai.errors import InputError


@pytest.fixture
def dataset(small_dataset, tmp_path):
    """A copy that may be spoiled."""
    return shutil.copytree(small_dataset, tmp_path / "data")


def write(path, array, **options):
    tifffile.imwrite(path, array, **options)


def no_description(folder):
    (folder / "dataset.json").unlink()


def empty_training(folder):
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "training": []}))


def other_shape(folder):
    write(folder / "training_labels.tif", np.zeros((2, 90, 96), np.uint8))


def unknown_label(folder):
    write(folder / "training_labels.tif", np.full((2, 96, 96), 77, np.uint8))


def colour(folder):
    write(folder / "training.tif", np.zeros((96, 96, 3), np.uint8), photometric="rgb")


def not_a_number(folder):
    image = np.random.default_rng(0).random((2, 96, 96), dtype=np.float32)
    image[1, 5, 5] = np.nan
    write(folder / "training.tif", image)


def constant(folder):
    write(folder / "training.tif", np.full((2, 96, 96), 7, np.uint8))


def hardly_any_contrast(folder):
    image = np.full((2, 96, 96), 7, np.uint8)
    image[0, 0, 0] = 200
    write(folder / "validation.tif", image)


def truncated(folder):
    path = folder / "training.tif"
    path.write_bytes(path.read_bytes()[:-200])


def unreadable(folder):
    (folder / "training.tif").write_text("not an image")


def missing_image(folder):
    (folder / "training.tif").unlink()


def no_voxel_size(folder):
    content = json.loads((folder / "dataset.json").read_text())
    del content["voxel_size_nm"]
    (folder / "dataset.json").write_text(json.dumps(content))


FAULTS = {
    no_description: "dataset.json",
    empty_training: "training",
    other_shape: "training",
    unknown_label: "77",
    colour: "training.tif",
    not_a_number: "training.tif",
    constant: "training.tif",
    hardly_any_contrast: "validation.tif",
    truncated: "training.tif",
    unreadable: "training.tif",
    missing_image: "training.tif",
    no_voxel_size: "voxel",
}


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_data_is_checked_at_the_door(spoil, dataset):
    spoil(dataset)
    before = sorted(dataset.rglob("*"))
    with pytest.raises(InputError) as caught:
        open_dataset(dataset)
    line = str(caught.value)
    assert "\n" not in line
    assert FAULTS[spoil] in line
    assert "expected" in line
    assert "met" in line
    assert "; " in line
    assert sorted(dataset.rglob("*")) == before


def only_line(done):
    """The one line that a failed command leaves, warnings of libraries aside."""
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_fault_in_the_data_is_one_line_on_the_command_line(monai_bundle, train_flags, dataset, tmp_path):
    truncated(dataset)
    flags = train_flags(dataset, tmp_path / "run")
    line = only_line(monai_bundle("run", "training", *flags, check=False))
    assert "training.tif" in line
    assert not (tmp_path / "run").exists()


def test_a_typo_in_an_override_is_refused(monai_bundle, train_flags, small_dataset, tmp_path):
    flags = train_flags(small_dataset, tmp_path)
    line = only_line(monai_bundle("run", "training", *flags, "--epoch", "3", check=False))
    assert "--epoch" in line
    assert "did you mean --epochs?" in line
    assert list(tmp_path.iterdir()) == []


def test_weights_of_another_architecture_are_refused(trained, monai_bundle, config, small_dataset, tmp_path):
    copied = shutil.copy(trained / "model.pt", tmp_path)  # its record would say what it is
    files = f"['{config('train')}','{config('evaluate')}']"
    flags = ["--dataset_dir", str(small_dataset), "--run_dir", str(tmp_path)]
    flags += ["--ckpt_path", str(copied), "--network_def::preset", "paper"]
    line = only_line(monai_bundle("run", "evaluating", "--config_file", files, *flags, check=False))
    assert "model.pt" in line
    assert "skip" in line


def test_weights_of_another_number_of_classes_are_refused(trained, tmp_path):
    from scsam_monai.weights.build import build_scsam, load_weights

    network = build_scsam(5, sam_weights="scsam_vit_t", mae_weights="scsam_mae_tiny")
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match="prototypes"):
        load_weights(network, trained / "model.pt")
    for key, value in network.state_dict().items():
        assert torch.equal(before[key].nan_to_num(), value.nan_to_num()), key


def test_missing_weights_are_one_line(monai_bundle, config, grey_stack, tmp_path):
    flags = ["--config_file", config("inference"), "--dataset_dir", str(grey_stack)]
    flags += ["--ckpt_path", str(tmp_path / "nowhere.pt"), "--output_dir", str(tmp_path / "out")]
    line = only_line(monai_bundle("run", "inferring", *flags, check=False))
    assert "nowhere.pt" in line
    assert not (tmp_path / "out").exists()


def test_an_image_smaller_than_the_crop_trains_padded(
    dataset, monai_bundle, train_flags, small_flags, tmp_path
):
    for name in ("training", "training_labels"):
        write(dataset / f"{name}.tif", tifffile.imread(dataset / f"{name}.tif")[:, :40, :50])
    flags = train_flags(dataset, tmp_path / "run")
    monai_bundle("run", "training", *flags, *small_flags)
    assert (tmp_path / "run" / "model.pt").is_file()
