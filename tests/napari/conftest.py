"""A real viewer with the plugin in it, on a screen that nobody sees where there is no other."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MANIFEST = Path(__file__).resolve().parents[2] / "scsam_monai" / "napari" / "napari.yaml"


@pytest.fixture(scope="session")
def _screen() -> Iterator[None]:
    pytest.importorskip("napari.layers", reason="needs napari: pip install -e '.[napari]'")
    pytest.importorskip("qtpy.QtWidgets", reason="needs a Qt: pip install -e '.[napari]'")
    if not sys.platform.startswith("linux") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        yield
        return
    server = shutil.which("Xvfb")
    if server is None:
        pytest.skip("needs a display, or Xvfb to make one: apt-get install xvfb libgl1-mesa-dri")
    reader, writer = os.pipe()
    command = [server, "-displayfd", str(writer), "-screen", "0", "1600x1200x24"]
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.DEVNULL) as process:
        os.close(writer)
        with os.fdopen(reader) as stream:
            number = stream.readline().strip()
        assert number, "Xvfb did not start"
        os.environ["DISPLAY"] = f":{number}"
        try:
            yield
        finally:
            del os.environ["DISPLAY"]
            process.kill()  # politely asked, it may wait for ever for a client


@pytest.fixture
def viewer(_screen: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Napari with this tree's plugin, its settings and the user's home in a folder of their own."""
    from npe2 import PluginManager, PluginManifest

    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "settings.yaml"))
    import napari

    plugins = PluginManager.instance()
    manifest = PluginManifest.from_file(MANIFEST)
    if manifest.name not in plugins:
        plugins.register(manifest)
    opened = napari.Viewer(show=True)
    yield opened
    opened.close()
    gc.collect()
