"""The package where it is installed from a wheel, in an environment of its own, with no clone in sight."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai._version import __version__
from scsam_monai.filesystem.bundle_folder import bundle_folder, output_root
from tests.bundle.conftest import write_description

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    *("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE"),
    "scsam_monai",
    "bundle",
    "docs",
)
VOXEL_NM = "16,16,16"


@dataclass
class Installed:
    """An environment, and the folder that its commands run in."""

    env: Path
    here: Path
    at_first: frozenset[str] = frozenset()

    @property
    def package(self) -> Path:
        return next(self.env.glob("lib/python3*/site-packages/scsam_monai"))

    def run(self, command: str, *words: object, **variables: str) -> str:
        """Run a command of the environment from ``here``; return what it prints."""
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        environment |= {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(self.here / "cache"), **variables}
        environment.pop("SCSAM_WEIGHTS_DIR", None)
        path = self.env / "bin" / command
        done = subprocess.run(
            [path if path.exists() else command, *map(str, words)],
            cwd=self.here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def files(self) -> frozenset[str]:
        """What lies in the installed package, compiled files aside."""
        return frozenset(str(path) for path in self.package.rglob("*") if "__pycache__" not in str(path))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel of the sdist of this repository, where the other packages are those of this environment."""
    work = tmp_path_factory.mktemp("wheel")
    _build(_copy(work / "clone"), "sdist", work)
    (sdist,) = work.glob("*.tar.gz")
    shutil.rmtree(work / "clone")
    shutil.unpack_archive(sdist, work / "unpacked", filter="data")
    _build(next((work / "unpacked").iterdir()), "wheel", work)
    shutil.rmtree(work / "unpacked")
    venv.create(work / "env", with_pip=False, symlinks=True)
    (wheel,) = work.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", work / "env" / "bin" / "python"]
    subprocess.run(
        [*pip, "install", "--no-deps", "--no-index", wheel], check=True, capture_output=True, timeout=300
    )
    (work / "here").mkdir()
    result = Installed(work / "env", work / "here")
    # A .pth file in a folder that another one names is not read: an editable installation stays out of sight.
    others = {sysconfig.get_paths()[name] for name in ("purelib", "platlib")}
    (result.package.parent / "others.pth").write_text("\n".join(others))
    result.at_first = result.files()
    return result


def _copy(target: Path) -> Path:
    """The sources alone, with a run and data in the bundle that must stay behind."""
    target.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "runs", "data")
    for name in SOURCES:
        source = ROOT / name
        if name == "bundle":
            shutil.copytree(source, target / name, ignore=skip)
        elif source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for stray in ("runs/scsam/model.pt", "data/generated/dataset.json", "models/mine.pt"):
        (target / "bundle" / stray).parent.mkdir(parents=True, exist_ok=True)
        (target / "bundle" / stray).touch()
    return target


def _build(source: Path, kind: str, target: Path) -> None:
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True, timeout=300)


@pytest.fixture(scope="module")
def stack(installed: Installed) -> Path:
    grey = np.random.default_rng(0).integers(0, 255, (2, 48, 48), dtype=np.uint8)
    tifffile.imwrite(installed.here / "stack.tif", grey)
    return installed.here / "stack.tif"


@pytest.fixture(scope="module")
def run(installed: Installed) -> Path:
    """A training of seconds by the installed bundle, on a data set of the user's."""
    folder = installed.here / "my_dataset"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for section in ("training", "validation"):
        tifffile.imwrite(folder / f"{section}.tif", rng.integers(0, 255, (1, 64, 64), dtype=np.uint8))
        tifffile.imwrite(folder / f"{section}_labels.tif", rng.integers(0, 8, (1, 64, 64), dtype=np.uint8))
    write_description(
        folder,
        **{
            section: [{"image": f"{section}.tif", "label": f"{section}_labels.tif"}]
            for section in ("training", "validation")
        },
    )
    small = {
        "crop_size": 64,
        "pool_size": 2,
        "crops_per_epoch": 2,
        "epochs": 1,
        "val_interval": 1,
        "views": 1,
    }
    flags = [word for key, value in small.items() for word in (f"--{key}", str(value))]
    words = ["-m", "monai.bundle", "run", "training", "--config_file", config(installed, "train")]
    printed = installed.run("python", *words, "--dataset_dir", folder, "--prototype_crops", "1", *flags)
    assert f"runs and generated data go to {installed.here / 'runs'}" in printed
    return installed.here / "runs" / "scsam"


def config(installed: Installed, name: str) -> Path:
    return Path(installed.run("scsam", "bundle", "path").strip()) / "configs" / f"{name}.json"


def test_the_wheel_holds_the_bundle_and_nothing_else_of_its_folder(installed: Installed) -> None:
    code = "import scsam_monai, sys; print(scsam_monai.__file__, *sys.path, sep='\\n')"
    file, *path = installed.run("python", "-c", code).splitlines()
    assert installed.run("scsam", "--version").strip() == f"scsam {__version__}"
    assert Path(file).parent == installed.package
    assert str(ROOT) not in path
    assert config(installed, "train").parents[1] == installed.package / "bundle"
    for name in ("configs", "docs", "samples"):
        own = {entry.name for entry in (ROOT / "bundle" / name).iterdir()}
        assert {entry.name for entry in (installed.package / "bundle" / name).iterdir()} == own
    assert not (installed.package / "bundle" / "runs").exists()
    assert not (installed.package / "bundle" / "data").exists()
    assert not (installed.package / "bundle" / "models" / "mine.pt").exists()


def test_predict_with_the_shipped_weights(installed: Installed, stack: Path) -> None:
    installed.run("scsam", "predict", stack, "labels.ome.zarr", "--voxel-size-nm", VOXEL_NM)
    assert (installed.here / "labels.ome.zarr").is_dir()
    installed.run("scsam", "demo", "sample")
    assert (installed.here / "sample" / "labels_report.html").is_file()
    assert "ok" in installed.run("scsam", "weights", "verify", "scsam_vit_t", "scsam_mae_tiny")


def test_the_bundle_trains_and_segments(installed: Installed, run: Path, stack: Path) -> None:
    assert (run / "model.pt").is_file()
    words = ["run", "inferring", "--config_file", config(installed, "inference"), "--dataset_dir", stack]
    installed.run("python", "-m", "monai.bundle", *words, "--voxel_size_nm", "[16,16,16]")
    assert (installed.here / "runs" / "inference" / "stack_labels.tif").is_file()
    assert installed.files() == installed.at_first, "something was written into the installed package"


def test_a_model_of_the_users_own(installed: Installed, run: Path, stack: Path) -> None:
    model = ["--model", run / "model.pt"]
    installed.run("scsam", "predict", stack, "mine.ome.zarr", "--voxel-size-nm", VOXEL_NM, *model)
    assert (installed.here / "mine.ome.zarr").is_dir()


def test_export(installed: Installed) -> None:
    model = installed.package / "bundle" / "models" / "model.pt"
    installed.run("scsam", "export", "torchscript", "scsam.ts", "--model", model, "--window", "64")
    assert (installed.here / "scsam.ts").stat().st_size > 1e7


def test_the_label_servers_start_script(installed: Installed) -> None:
    env = installed.here / "label_env"
    (env / "bin").mkdir(parents=True)
    (env / "bin" / "python").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (env / "bin" / "python").chmod(0o755)
    (env / "scsam-ready").touch()
    script = installed.package / "bundle" / ".." / "docs" / "monai_label" / "start.sh"
    words = installed.run("bash", script, "server", "--port", "8123", SCSAM_LABEL_ENV=str(env)).splitlines()
    assert words[0] == str(installed.package / "docs" / "monai_label" / "sample_images.py")
    assert words[2:4] == ["-m", "monailabel.main"]
    (link,) = env.glob("lib/python3*/site-packages/scsam_monai")
    assert link.resolve() == installed.package.resolve()
    served = installed.here / "server" / "app" / "model" / "scsam"
    for name in ("configs/train.json", "models/model.pt"):
        assert (served / name).read_bytes() == (ROOT / "bundle" / name).read_bytes()


def test_every_place_that_states_the_version_states_this_one() -> None:
    """A release changes ``_version.py``, and these after it; the tag is ``v`` and the version."""
    stated = {
        "CITATION.cff": rf"^version: {re.escape(__version__)}$",
        "CHANGELOG.md": rf"^## \[{re.escape(__version__)}\]",
        "bundle/configs/metadata.json": rf'"scsam-monai": "{re.escape(__version__)}"',
        "setup.cfg": r"^version = attr: scsam_monai\._version\.__version__$",
    }
    for file, pattern in stated.items():
        assert re.search(pattern, (ROOT / file).read_text("utf-8"), re.MULTILINE), file


def test_extras_that_messages_and_documents_name_exist() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    files = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "scsam_monai").rglob("*.py")]
    named = {
        extra
        for file in files
        for extras in re.findall(r"(?:scsam-monai|'\.|\.whl)\[([\w,]+)\]", file.read_text("utf-8"))
        for extra in extras.split(",")
    }
    # Messages are put together from the names that calls hand over.
    calls = r'optional_library\([^)]*"(\w+)"\)'
    named |= {extra for file in files for extra in re.findall(calls, file.read_text("utf-8"))}
    assert {"formats", "dask", "export"} <= named <= set(setup["options.extras_require"])


def test_a_clone_uses_its_own_bundle_and_writes_there() -> None:
    assert bundle_folder() == ROOT / "bundle"
    assert output_root(bundle_folder()) == str(ROOT / "bundle")


def test_a_bundle_that_cannot_be_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with caplog.at_level("INFO"):
        assert output_root(ROOT / "bundle") == str(tmp_path)
    assert len(caplog.messages) == 1
