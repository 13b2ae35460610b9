"""The exported files: what they hold, what they take, and that they say what PyTorch says."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from export_agreement import agreement, corners, labels_through, network_labels, networks, package_labels
from monai.data import load_net_with_metadata

from scsam_monai import __version__
from scsam_monai.data.synthetic import VOCABULARY, generate_volume
from scsam_monai.export.description import example_section

ENOUGH = 0.999
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def generated():
    """A generated section of four windows."""
    return generate_volume((1, 320, 320), (16.0, 16.0, 16.0), seed=123_456).image[0]


def test_networks_agree_on_a_generated_section(exported, shipped, generated):
    expected = labels_through(shipped, shipped.network, generated, 16)
    assert len(np.unique(expected)) > 3
    for name, network in networks(exported).items():
        assert agreement(labels_through(shipped, network, generated, 16), expected) >= ENOUGH, name


def test_networks_agree_on_a_real_section(exported, shipped, real_data):
    section = tifffile.imread(real_data / "vnc" / "stack1_raw_z00-16.tif", key=14)
    expected = labels_through(shipped, shipped.network, section, 4.6)
    for name, network in networks(exported).items():
        assert agreement(labels_through(shipped, network, section, 4.6), expected) >= ENOUGH, name


@pytest.mark.parametrize("weights", ["torchscript", "onnx"])
def test_the_package_agrees_on_generated_windows(exported, shipped, generated, weights):
    windows = corners(generated)[:2]
    expected = network_labels(shipped, windows)
    assert agreement(package_labels(exported / "scsam.zip", weights, windows), expected) >= ENOUGH


@pytest.mark.parametrize("weights", ["torchscript", "onnx"])
def test_the_package_agrees_on_real_windows(exported, shipped, real_data, weights):
    windows = corners(tifffile.imread(real_data / "vnc" / "stack1_raw_z00-16.tif", key=14))
    expected = network_labels(shipped, windows)
    assert agreement(package_labels(exported / "scsam.zip", weights, windows), expected) >= ENOUGH


def test_the_package_takes_sections_of_any_size(exported, shipped, generated):
    from bioimageio.core import load_model_description, predict

    model = load_model_description(exported / "scsam.zip")
    section = generated[None, None].astype(np.float32)
    result = predict(model=model, inputs=section, blocksize_parameter=0)
    labels = np.asarray(result.members["logits"].data)[0].argmax(0)
    # Windows are cropped here and blended there.
    expected = labels_through(shipped, shipped.network, generated, shipped.pixel_size_nm)
    assert agreement(labels, expected) >= 0.9


def test_any_batch_gives_what_single_images_give(exported):
    images = torch.rand(3, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    for name, network in networks(exported).items():
        with torch.no_grad():
            together, singly = network(images), torch.cat([network(image[None]) for image in images])
        assert together.shape == (3, len(VOCABULARY), 256, 256), name
        torch.testing.assert_close(together, singly, atol=1e-3, rtol=0)


@pytest.mark.parametrize("shape", [(1, 1, 288, 256), (1, 1, 128, 128), (1, 3, 256, 256), (1, 1, 512, 512)])
def test_another_size_is_refused_by_name(exported, shape):
    for network in networks(exported).values():
        with pytest.raises(Exception, match=r"[Ee]xpected.*(256|1)"):
            network(torch.rand(shape))


def test_torchscript_says_what_it_is(exported, shipped):
    network, metadata, _ = load_net_with_metadata(str(exported / "scsam.ts"))
    assert metadata["class_names"] == list(VOCABULARY)
    assert metadata["pixel_size_nm"] == shipped.pixel_size_nm
    assert metadata["window"] == [256, 256]
    assert metadata["normalisation"]["percentiles"] == [0.5, 99.5]
    assert (metadata["version"], metadata["licence"]) == (__version__, "Apache-2.0")
    assert float(network.pixel_size_nm) == shipped.pixel_size_nm


def test_torchscript_is_tied_to_no_device(exported):
    network = torch.jit.load(str(exported / "scsam.ts"))
    assert 'value="cpu"' not in str(network.inlined_graph)


def test_onnx_says_what_it_is(exported, shipped):
    import onnx

    model = onnx.load(exported / "scsam.onnx")
    onnx.checker.check_model(model, full_check=True)
    properties = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(properties["class_names"]) == list(VOCABULARY)
    assert json.loads(properties["pixel_size_nm"]) == shipped.pixel_size_nm
    assert (properties["version"], properties["licence"]) == (__version__, "Apache-2.0")
    for tensor, channels in ((model.graph.input[0], 1), (model.graph.output[0], len(VOCABULARY))):
        batch, *sizes = tensor.type.tensor_type.shape.dim
        assert batch.dim_param == "batch"
        assert [size.dim_value for size in sizes] == [channels, 256, 256]


def test_the_package_holds_what_the_format_asks_for(exported, shipped):
    import yaml

    with zipfile.ZipFile(exported / "scsam.zip") as package:
        names = set(package.namelist())
        rdf = yaml.safe_load(package.read("rdf.yaml"))
        cover = package.read("cover.png")
    parts = {"model.ts", "model.onnx", "input.npy", "output.npy", "cover.png", "README.md", "rdf.yaml"}
    assert names == parts
    assert re.match(r"0\.5\.", rdf["format_version"])
    assert (rdf["type"], rdf["license"], rdf["version"]) == ("model", "Apache-2.0", __version__)
    assert rdf["authors"]
    assert rdf["cite"]
    batch, channel, y, x = rdf["outputs"][0]["axes"]
    assert channel["channel_names"] == list(VOCABULARY)
    assert (y["scale"], y["unit"], y["halo"]) == (shipped.pixel_size_nm, "nanometer", 32)
    assert (batch["type"], x["id"]) == ("batch", "x")
    steps = [step["id"] for step in rdf["inputs"][0]["preprocessing"] if step["id"] != "ensure_dtype"]
    assert steps == ["scale_range", "clip"]
    assert set(rdf["weights"]) == {"torchscript", "onnx"}
    assert len(cover) < 500_000


def test_the_test_input_is_the_generated_section(exported, shipped):
    with zipfile.ZipFile(exported / "scsam.zip") as package, package.open("input.npy") as file:
        assert np.array_equal(np.load(file)[0, 0], example_section(256, shipped.pixel_size_nm))


def test_python_of_the_guide_runs_as_written(exported, monkeypatch):
    monkeypatch.chdir(exported)
    text = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 3
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/exports.md", "exec"), names)
        if "labels" in names:
            assert {0} != set(np.unique(np.asarray(names.pop("labels"))))
    assert names["names"] == list(VOCABULARY)
