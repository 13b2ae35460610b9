import json

import numpy as np
import pytest

from scsam_monai.data import synthetic
from scsam_monai.data.checks import open_dataset
from scsam_monai.errors import InputError
from scsam_monai.io import write_stack


@pytest.fixture
def dataset(tmp_path):
    rng = np.random.default_rng(0)
    write_stack(tmp_path / "a.tif", rng.integers(0, 255, (2, 8, 8), dtype=np.uint8), (1, 1, 1))
    write_stack(tmp_path / "b.tif", rng.integers(0, 2, (2, 8, 8), dtype=np.uint8), (1, 1, 1))
    content = {"labels": {"0": "background", "1": "er"}, "voxel_size_nm": [1, 1, 1]}
    content["training"] = [{"image": "a.tif", "label": "b.tif"}]
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    return tmp_path


def test_opens_what_is_there_and_says_so(dataset, caplog):
    caplog.set_level("INFO")
    assert open_dataset(dataset).class_names == ["background", "er"]
    assert "1 training, 0 validation, 0 test; classes background, er" in caplog.text


def test_samples_are_generated_in_their_own_folder_alone(dataset, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(synthetic, "write_sample_dataset", made.append)
    open_dataset(dataset, sample_dir=dataset / ".." / dataset.name)
    assert len(made) == 1
    open_dataset(dataset, sample_dir=tmp_path / "elsewhere")
    assert len(made) == 1


def test_a_folder_of_the_users_is_never_filled(tmp_path):
    with pytest.raises(InputError, match=r"dataset\.json"):
        open_dataset(tmp_path / "typo", sample_dir=tmp_path / "samples")
    assert not (tmp_path / "typo").exists()
