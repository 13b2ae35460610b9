"""Importing, and building networks from files that are there or not, opens no connection."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

CODE = """
import pkgutil, socket, sys

def forbidden(*_, **__):
    raise AssertionError("a socket was opened")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = forbidden

import scsam_monai
for module in pkgutil.walk_packages(scsam_monai.__path__, "scsam_monai."):
    # What needs MONAI Label or napari.
    if not module.name.startswith(("scsam_monai.monai_label.app.", "scsam_monai.napari.")):
        __import__(module.name)

from scsam_monai.errors import InputError
from scsam_monai.weights.build import build_scsam
from scsam_monai.weights.registry import WEIGHTS, Weights, WeightsFile

SETS = (("sam", "sam", ("encoder", "prompts")), ("mae", "mae", ("mae",)), ("absent", "sam", ("absent",)))
for name, kind, files in SETS:
    files = tuple(WeightsFile(f"{file}.safetensors", None, None, "https://example.org/") for file in files)
    WEIGHTS[name] = Weights(name, kind, "vit_t", "CC0", "made by a test", files)

network = build_scsam(3, sam_weights="sam", mae_weights="mae", weights_dir=sys.argv[1])
print(network.sam_encoder.frozen, network.mae_encoder.frozen)
try:
    build_scsam(3, sam_weights="absent")
except InputError as error:
    print(error.remedy)
"""


def test_only_fetch_opens_connections(named: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    environment.pop("SCSAM_WEIGHTS_DIR", None)
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(named)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    frozen, remedy = done.stdout.splitlines()
    assert frozen == "True True"
    assert remedy.startswith("run: scsam weights fetch absent; without a network, put absent.safetensors")
