"""A ScSAM that many tests open from its files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from front_door import CLASSES, PIXEL_NM

from scsam_monai.inference import Model, open_model
from scsam_monai.weights.build import build_scsam
from scsam_monai.weights.record import HASH
from scsam_monai.weights.registry import sha256_of


@pytest.fixture(scope="session")
def model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    network = build_scsam(
        n_classes=len(CLASSES), preset="paper", tokens=2, pixel_size_nm=PIXEL_NM, warn_untrained=False
    )
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save(network.state_dict(), path)
    record = {"network": network.recipe, "class_names": CLASSES, HASH: sha256_of(path)}
    path.with_suffix(".json").write_text(json.dumps(record))
    return path


@pytest.fixture(scope="session")
def opened(model_path: Path) -> Model:
    return open_model(model_path, "cpu")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A volume of three blocks, each of which shows windows that another one shows, too."""
    from front_door import grey

    np.save(tmp_path / "cell.npy", grey(4, 560, 40))
    return tmp_path / "cell.npy"
