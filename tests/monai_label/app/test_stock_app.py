"""The bundle in MONAI Label's own app for bundles, as it is."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest
import tifffile

from tests.monai_label.app.conftest import REPOSITORY, Server, free_port, running


@pytest.fixture(scope="module")
def stock(label_env, server, tmp_path_factory):
    """MONAI Label's ``monaibundle`` with a copy of the bundle, on the sample images of the other server."""
    folder, python = tmp_path_factory.mktemp("stock"), label_env / "bin" / "python"
    label = [python, "-m", "monailabel.main"]
    subprocess.run([*label, "apps", "--download", "--name", "monaibundle", "--output", folder], check=True)
    shutil.copytree(
        REPOSITORY / "bundle", folder / "monaibundle" / "model" / "scsam",
        ignore=shutil.ignore_patterns("runs", "data"),
    )  # fmt: skip
    (folder / "images").mkdir()
    for name in ("plane.tif", "stack.tif"):
        shutil.copy(server.folder / "images" / name, folder / "images")
    own = Server(folder, free_port(), folder / "server.log")
    options = ["--app", folder / "monaibundle", "--studies", folder / "images", "--port", str(own.port)]
    options += ["--conf", "models", "scsam", "--conf", "zoo_source", "local", "--conf", "sam2", "false"]
    with running(own, [*label, "start_server", "--host", "127.0.0.1", *options], 300):
        yield own


def test_infers_what_the_command_line_does(stock, command_line, tmp_path):
    for name in ("plane", "stack"):
        answer = stock.call("POST", f"/infer/scsam?image={name}&output=image")
        assert answer.status == 200, answer.body
        (tmp_path / "told.tif").write_bytes(answer.body)
        told, expected = (
            tifffile.imread(tmp_path / "told.tif"),
            tifffile.imread(command_line / f"{name}_labels.tif"),
        )
        np.testing.assert_array_equal(told, expected)
        assert told.dtype == np.uint8


def test_a_training_of_the_stock_app_is_refused_and_leaves_the_served_model(stock, server):
    models = stock.folder / "monaibundle" / "model" / "scsam" / "models"
    first = (models / "model.pt").read_bytes()
    truth = server.folder / "truth" / "stack.tif"
    assert stock.call("PUT", "/datastore/label?image=stack&tag=final", label=truth).status == 200
    assert stock.call("POST", "/train/scsam?run_sync=true", {"max_epochs": 1}).status == 500
    assert "build the network as the model.json beside them says" in stock.log.read_text()
    assert (models / "model.pt").read_bytes() == first
