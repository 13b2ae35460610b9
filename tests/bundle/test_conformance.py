"""What MONAI and the model zoo ask of a bundle."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow

from scsam_monai import __version__
from scsam_monai._torchvision import ensure_torchvision
from scsam_monai.bundle_tools.verify.files import SCHEMA
from scsam_monai.data.synthetic import VOCABULARY
from scsam_monai.networks.mae import MAEEncoder
from scsam_monai.weights.registry import WEIGHTS, find_weights


def workflow(config, files, workflow_type, **overrides):
    return ConfigWorkflow(
        config_file=[config(name) for name in files],
        workflow_type=workflow_type,
        logging_file=False,
        **overrides,
    )


def test_train_has_all_properties(config, bundle, small_dataset, small_run, tmp_path):
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset), "run_dir": str(tmp_path)}
    train = workflow(config, ["train"], "train", **overrides, **small_run)
    train.initialize()
    assert train.check_properties() == []


def test_evaluate_has_all_properties(config, bundle, small_dataset, small_run, trained, tmp_path):
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset), "run_dir": str(tmp_path)}
    overrides["ckpt_path"] = str(trained / "model.pt")
    evaluate = workflow(config, ["train", "evaluate"], "train", **overrides, **small_run)
    evaluate.initialize()
    assert evaluate.check_properties() == []


def test_inference_has_all_properties(config, bundle, small_dataset, trained, tmp_path):
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset / "test.tif")}
    overrides |= {"ckpt_path": str(trained / "model.pt"), "output_dir": str(tmp_path)}
    inference = workflow(config, ["inference"], "inference", **overrides)
    inference.initialize()
    assert inference.check_properties() == []


def test_metadata_fits_the_schema(monai_bundle, config):
    done = monai_bundle(
        "verify_metadata", "--meta_file", config("metadata"), "--filepath", str(SCHEMA), check=False
    )
    assert "metadata is verified with no error" in done.stdout + done.stderr


def test_a_broken_metadata_file_is_caught(monai_bundle, config, tmp_path):
    broken = json.loads(Path(config("metadata")).read_text())
    del broken["network_data_format"]
    (tmp_path / "metadata.json").write_text(json.dumps(broken))
    done = monai_bundle(
        "verify_metadata",
        "--meta_file",
        str(tmp_path / "metadata.json"),
        "--filepath",
        str(SCHEMA),
        check=False,
    )
    assert "metadata is verified with no error" not in done.stdout + done.stderr


def test_metadata_agrees_with_the_package(config):
    metadata = json.loads(Path(config("metadata")).read_text())
    classes = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert metadata["version"] == __version__
    assert metadata["version"] in metadata["changelog"]
    assert list(classes.values()) == list(VOCABULARY)


def test_network_takes_and_gives_what_metadata_says(monai_bundle, config):
    monai_bundle(
        "verify_net_in_out",
        "network_def",
        "--meta_file",
        config("metadata"),
        "--config_file",
        config("inference"),
        "--n",
        "4",
        "--device",
        "cpu",
        "--bundle_root",
        str(Path(config("inference")).parents[1]),
    )


def test_export_to_torchscript_takes_any_batch(monai_bundle, config, trained, tmp_path):
    traced = tmp_path / "model.ts"
    monai_bundle(
        "ckpt_export",
        "network_def",
        "--filepath",
        str(traced),
        "--ckpt_file",
        str(trained / "model.pt"),
        "--meta_file",
        config("metadata"),
        "--config_file",
        config("inference"),
        "--ckpt_path",
        str(trained / "model.pt"),
        "--use_trace",
        "True",
        "--input_shape",
        "[1,1,64,64]",
    )
    script = torch.jit.load(str(traced))
    images = torch.rand(3, 1, 64, 64)
    with torch.no_grad():
        together = script(images)
        singly = torch.cat([script(image[None]) for image in images])
    assert together.shape == (3, 8, 64, 64)
    torch.testing.assert_close(together, singly, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["train", "inference", "evaluate", "multi_gpu_train", "vit_b", "unet"])
def test_configs_are_json_objects(config, name):
    assert isinstance(json.loads(Path(config(name)).read_text()), dict)


def test_large_files_are_those_of_the_registry(bundle):
    import yaml

    files = yaml.safe_load((bundle / "large_files.yml").read_text())["large_files"]
    assert {entry["hash_type"] for entry in files} == {"sha256"}
    met = {entry["path"]: (entry["url"], entry["hash_val"]) for entry in files}
    fetched = [file for weights in WEIGHTS.values() for file in weights.files if file.url]
    assert met == {f"models/{file.name}": (file.url, file.sha256) for file in fetched}
    assert len(met) == len(files) == 3


def test_vit_b_names_weights_that_exist(config):
    full = json.loads(Path(config("vit_b")).read_text())
    assert find_weights(full["sam_weights"]).architecture == full["network_def::sam"]
    assert find_weights(full["mae_weights"]).architecture == full["mae"]


def test_vit_b_starts_from_a_checkpoint_in_metas_layout(config, bundle, small_dataset, small_run, tmp_path):
    ensure_torchvision()
    from segment_anything import sam_model_registry

    torch.save(sam_model_registry["vit_b"]().state_dict(), tmp_path / "sam_vit_b.pth")
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset), "run_dir": str(tmp_path)}
    overrides["sam_weights"] = str(tmp_path / "sam_vit_b.pth")
    torch.save(MAEEncoder("mae_tiny").vit.state_dict(), tmp_path / "mae.pt")
    overrides["mae_weights"] = str(tmp_path / "mae.pt")
    full = workflow(config, ["train", "vit_b"], "train", **overrides)
    network = full.parser.get_parsed_content("network_def")
    assert network.sam_encoder.frozen
    assert network.mae_encoder.frozen
    assert network.mae_encoder.name == "mae_tiny"
    stored = torch.load(tmp_path / "sam_vit_b.pth", weights_only=True)["image_encoder.pos_embed"]
    assert torch.equal(network.sam_encoder.pos_embed, stored)


def test_vit_b_without_its_checkpoint_says_what_is_missing(config, bundle, small_dataset, tmp_path):
    overrides = {"bundle_root": str(bundle), "dataset_dir": str(small_dataset), "run_dir": str(tmp_path)}
    overrides["sam_weights"] = str(tmp_path / "nowhere.pth")
    full = workflow(config, ["train", "vit_b"], "train", **overrides)
    with pytest.raises(RuntimeError) as caught:
        full.parser.get_parsed_content("network_def")
    assert "nowhere.pth: expected a weights file" in str(caught.value.__cause__)


def test_scores_in_the_metadata_are_those_of_the_model_card(bundle):
    metrics = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    rows = re.findall(
        r"^\| ([\w ]+) \| (0\.\d{3}) \| (0\.\d{3}) \| [\d,]+ \|$",
        (bundle / "docs" / "README.md").read_text(),
        re.M,
    )
    iou, dice = ({name: float(row[place]) for name, *row in rows} for place in range(2))
    means = {"mean_iou": iou.pop("mean foreground"), "mean_dice": dice.pop("mean foreground")}
    means["mean_iou_with_background"] = iou.pop("mean with background")
    means["mean_dice_with_background"] = dice.pop("mean with background")
    assert metrics == {**means, **{f"iou_{name}": value for name, value in iou.items()}}
    assert list(iou) == list(VOCABULARY)
