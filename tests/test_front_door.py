"""What the package offers at its top level: seven names, imported when they are asked for."""

from __future__ import annotations

import doctest
import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import scsam_monai
from scsam_monai import InputError, Model, open_model, segment
from scsam_monai.inference.maps import Product
from scsam_monai.io import LabelVolume, open_volume, read_image, write_stack
from scsam_monai.weights.registry import check_model

NAMES = ("segment", "open_model", "Model", "Windows", "ScSAM", "build_scsam", "InputError")
ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "bundle" / "models"
NM = (16.0, 16.0, 16.0)


@pytest.fixture(scope="module")
def model() -> Model:
    return open_model(device="cpu")


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (2, 40, 48), dtype=np.uint8)


def test_every_name_is_there_and_listed() -> None:
    for name in NAMES:
        assert getattr(scsam_monai, name).__name__ == name
        assert name in scsam_monai.__all__
        assert name in dir(scsam_monai)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = scsam_monai.nothing


def test_importing_the_package_is_quick_and_brings_no_torch() -> None:
    code = (
        "import time; start = time.process_time()\n"
        "import scsam_monai\n"
        "print(time.process_time() - start)\n"
        "from scsam_monai import InputError\n"
        "import sys; print({'torch', 'monai', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.splitlines()
    assert float(seconds) < 0.2
    assert heavy == "set()"


def test_the_lines_of_python_in_the_readme_run(image: np.ndarray, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_stack("stack.tif", image, NM)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), flags=re.DOTALL)
    assert len(code.splitlines()) == 5
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert names["found"].labels.shape == image.shape
    assert (tmp_path / "labels.ome.zarr").is_dir()


@pytest.mark.parametrize("module", ["inference.segment", "networks.scsam"])
def test_examples_of_the_docstrings_run(module: str) -> None:
    result = doctest.testmod(importlib.import_module(f"scsam_monai.{module}"), optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


def test_models_by_name_path_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCSAM_WEIGHTS_DIR", raising=False)
    shipped = SHIPPED / "model.pt"
    assert (
        check_model() == check_model("scsam") == check_model(shipped) == check_model(str(SHIPPED)) == shipped
    )
    (tmp_path / "scsam").mkdir()  # of anything else
    assert check_model("scsam") == shipped
    shutil.copytree(SHIPPED, tmp_path / "scsam", dirs_exist_ok=True)
    assert check_model("scsam") == Path("scsam/model.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"met a folder without model\.pt"):
        check_model("empty")
    with pytest.raises(
        InputError, match=r"scsan: expected a trained model\.pt, met no such file; .* name scsam"
    ):
        check_model("scsan")


def test_an_array_and_its_file_give_the_same(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", image, NM)
    of_array = segment(image, model, NM, products=["confidence"])
    of_file = segment(tmp_path / "stack.tif", model, products=["confidence"])
    assert of_array.labels.shape == image.shape
    assert np.array_equal(of_array.labels, of_file.labels)
    assert np.array_equal(of_array.maps[Product.CONFIDENCE], of_file.maps[Product.CONFIDENCE])
    assert np.array_equal(segment(image, SHIPPED, NM, device="cpu").labels, of_array.labels)


def test_a_section_keeps_its_two_axes(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "section.npy", image[0])
    labels = segment(tmp_path / "section.npy", model, NM).labels
    assert labels.shape == image[0].shape
    assert np.array_equal(labels, segment(image[0], model, NM[1:]).labels)


def test_labels_are_written_where_asked(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    labels = segment(image, model, NM).labels
    write_stack(tmp_path / "stack.tif", image, NM)
    seen: list[float] = []
    output = segment(
        tmp_path / "stack.tif",
        model,
        output=tmp_path / "new" / "a.ome.zarr",
        progress=lambda *x: seen.append(x[0]),
    )
    with open_volume(output) as written:
        assert written.voxel_size_nm == NM
    assert LabelVolume(output).legend.class_names == model.class_names
    assert np.array_equal(LabelVolume(output).read([(0, size) for size in image.shape]), labels)
    assert max(seen) == image.size
    tiff = segment(image, "scsam", NM, output=tmp_path / "b.tif", products=["confidence"], device="cpu")
    assert np.array_equal(read_image(tiff).array, labels)
    assert (tmp_path / "b_confidence.ome.zarr").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {
        "stack.tif",
        "new",
        "b.tif",
        "b_confidence.ome.zarr",
    }


def test_an_array_that_was_cancelled_leaves_nothing(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        segment(image, model, NM, output=tmp_path / "a.ome.zarr", cancel=lambda: True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cancelled_is_gone_on_with(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    write_stack(tmp_path / "stack.tif", image, NM)
    work = {"model": model, "output": tmp_path / "a.ome.zarr"}
    with pytest.raises(InterruptedError, match="resume=True"):
        segment(tmp_path / "stack.tif", **work, cancel=lambda: True)
    with pytest.raises(InputError, match="resume"):
        segment(tmp_path / "stack.tif", **work)
    assert segment(tmp_path / "stack.tif", **work, resume=True) == tmp_path / "a.ome.zarr"


def test_a_voxel_size_is_asked_for(model: Model, image: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", image)
    for source in (image, tmp_path / "stack.npy"):
        with pytest.raises(InputError, match=r"expected a voxel size in nm, met none in the file; give"):
            segment(source, model)
        with pytest.raises(InputError, match=r"expected a voxel size in nm, met none"):
            segment(source, model, output=tmp_path / "a.ome.zarr")


def test_a_network_built_by_hand_cannot_be_named_in_a_file(
    model: Model, image: np.ndarray, tmp_path: Path
) -> None:
    by_hand = Model(model.network, model.class_names, model.pixel_size_nm, model.device)
    assert segment(image, by_hand, NM).labels.shape == image.shape
    with pytest.raises(InputError, match="met a network that was built by hand"):
        segment(image, by_hand, NM, output=tmp_path / "a.ome.zarr")
    assert list(tmp_path.iterdir()) == []
