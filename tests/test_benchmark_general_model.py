"""What the shipped model learns from is put together as the model card says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from scsam_monai.baselines.pretrained_unet import PretrainedUNet
from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.items import IGNORE_LABEL
from scsam_monai.data.synthetic import TISSUES, VOCABULARY, drawn_tissues
from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import write_json

FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "general_model.py"


@pytest.fixture(scope="module")
def general_model() -> ModuleType:
    spec = importlib.util.spec_from_file_location("general_model", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_membranes_are_what_lies_between_bodies(general_model: ModuleType) -> None:
    bodies = np.ones((1, 9, 16), np.uint32)
    bodies[..., 8:] = 2
    labels = general_model.membranes(bodies)
    row = labels[0, 4].tolist()
    assert row[7:9] == [1, 1]
    assert row[0] == row[-1] == 0
    assert IGNORE_LABEL in row


def drawn(folder: Path, name: str, values: tuple[int, ...]) -> Path:
    """A data set whose volumes are of one label each."""
    part = folder / name
    part.mkdir(parents=True)
    items = []
    for number, value in enumerate(values):
        tifffile.imwrite(part / f"{number}.tif", np.full((2, 16, 16), value, np.uint8))
        items.append({"image": f"{number}.tif", "label": f"{number}.tif", "voxel_size_nm": [8.0, 8.0, 8.0]})
    made_by = {"name": "scsam_monai.data.synthetic", "tissues": ["islet", "plant"]}
    described = {
        "licence": "CC0-1.0",
        "labels": {str(number): name for number, name in enumerate(VOCABULARY)},
        "ignore_label": 255,
        "training": items,
        "generator": made_by,
    }
    return write_json(part / "dataset.json", described)


def test_of_the_further_volumes_those_with_myelin_are_taken(
    general_model: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    myelin = VOCABULARY.index("myelin")
    values = {"tissues": (1, 2), "neuropil": (3,), "myelin": (0, myelin), "islets": (4,)}
    asked = {}

    def draw(folder: Path, *words: str, **numbers: int) -> Path:
        asked[folder.name] = (*words, numbers)
        return drawn(folder.parent, folder.name, values[folder.name])

    monkeypatch.setattr(general_model, "write_tissue_dataset", draw)
    monkeypatch.setattr(general_model, "write_sample_dataset", draw)
    raw, bodies = tmp_path / "raw.tif", tmp_path / "bodies.tif"
    tifffile.imwrite(raw, np.zeros((2, 16, 16), np.uint8))
    tifffile.imwrite(bodies, np.ones((2, 16, 16), np.uint32))
    description = load_dataset(general_model.make_data(tmp_path / "all", (raw, bodies)))
    assert asked == {
        "tissues": (",".join(TISSUES), {"training": 60}),
        "neuropil": ("neuropil", {"seed": 100, "training": 24}),
        "myelin": ("neuropil", {"seed": 300, "training": 40}),
        "islets": ({"training": 16},),
    }
    assert description.class_names == list(VOCABULARY)
    labels = [int(tifffile.imread(item["label"])[0, 8, 8]) for item in description.training]
    assert labels == [1, 2, 3, myelin, 4, 0]
    assert drawn_tissues(description) == ["islet", "plant"]
    assert VOCABULARY.index("extracellular") not in description.training[-2]["annotated"]
    assert description.training[-1]["annotated"] == [0, VOCABULARY.index("membrane")]


def test_the_pyramid_of_a_u_net_is_taken_out(general_model: ModuleType, tmp_path: Path) -> None:
    network = PretrainedUNet(2)
    own = network.encoder.model.state_dict()
    torch.save(network.state_dict(), tmp_path / "model.pt")
    general_model.main(["pyramid", str(tmp_path / "model.pt"), str(tmp_path / "pyramid.safetensors")])
    taken = load_file(tmp_path / "pyramid.safetensors")
    assert all(torch.equal(taken[key], value) for key, value in own.items())
    torch.save({"mask_decoder.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(InputError, match="expected a U-Net on a pyramid"):
        general_model.take_pyramid(tmp_path / "other.pt", tmp_path / "none.safetensors")
