"""A bundle, a small generated data set and the command line that brings them together."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

from scsam_monai.data.synthetic import generate_volume
from tests.bundle.warm import WarmBundle

REPOSITORY = Path(__file__).resolve().parents[2]
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def bundle() -> Path:
    return REPOSITORY / "bundle"


@pytest.fixture(scope="session")
def config(bundle: Path) -> Callable[[str], str]:
    return lambda name: str(bundle / "configs" / f"{name}.json")


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices each of three generated volumes, 96 pixels wide."""
    folder = tmp_path_factory.mktemp("data")
    sections: dict[str, list[dict[str, str]]] = {}
    for seed, section in enumerate(("training", "validation", "test")):
        volume = generate_volume((2, 96, 96), (16.0, 16.0, 16.0), seed=seed)
        tifffile.imwrite(folder / f"{section}.tif", volume.image, compression="zlib")
        tifffile.imwrite(folder / f"{section}_labels.tif", volume.labels, compression="zlib")
        sections[section] = [{"image": f"{section}.tif", "label": f"{section}_labels.tif"}]
    write_description(folder, **sections)
    return folder


def write_description(folder: Path, **sections: list[dict[str, str]]) -> None:
    import json

    names = ["background", "membrane", "nucleus", "mitochondrion", "granule", "golgi", "er", "vacuole"]
    labels = {str(index): name for index, name in enumerate(names)}
    content = {"labels": labels, "voxel_size_nm": [16, 16, 16], **sections}
    (folder / "dataset.json").write_text(json.dumps(content))


@pytest.fixture(scope="session")
def monai_bundle() -> Iterator[Command]:
    """Run ``python -m monai.bundle`` as a user would; ``cold`` starts Python anew for it, as the user does."""
    warm = WarmBundle()

    def run(
        *arguments: str, cwd: Path = REPOSITORY, check: bool = True, cold: bool = False
    ) -> subprocess.CompletedProcess[str]:
        if cold:
            command = [sys.executable, "-m", "monai.bundle", *arguments]
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            done = subprocess.run(
                command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
            )
        else:
            done = warm(arguments, cwd, timeout=300)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}")
        return done

    yield run
    warm.close()


SMALL_RUN = {
    "crop_size": 64,
    "pool_size": 8,
    "crops_per_epoch": 4,
    "batch_size": 2,
    "epochs": 2,
    "val_interval": 1,
}


@pytest.fixture(scope="session")
def small_run() -> dict[str, int]:
    """Overrides that make a training of seconds."""
    return dict(SMALL_RUN)


@pytest.fixture(scope="session")
def small_flags(small_run: dict[str, int]) -> list[str]:
    return [word for key, value in small_run.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="session")
def train_flags(config: Callable[[str], str]) -> Callable[[Path, Path], list[str]]:
    """Flags of a training on a data set, into a run folder."""

    def flags(dataset: Path, run_dir: Path) -> list[str]:
        files = ["--config_file", config("train")]
        return [*files, "--dataset_dir", str(dataset), "--run_dir", str(run_dir)]

    return flags


@pytest.fixture(scope="session")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
    monai_bundle: Command,
    config: Callable[[str], str],
    small_dataset: Path,
    small_flags: list[str],
) -> Path:
    """Run folder of a finished small training, started from a folder that is not the repository."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    run_dir = elsewhere / "run"
    files = ["--config_file", config("train"), "--dataset_dir", str(small_dataset), "--run_dir", str(run_dir)]
    done = monai_bundle("run", "training", *files, *small_flags, cwd=elsewhere, cold=True)
    (run_dir / "stdout.txt").write_text(done.stdout)
    return run_dir


@pytest.fixture
def grey_stack(tmp_path: Path) -> Path:
    """A stack of noise, as a TIFF that states its voxel size."""
    from scsam_monai.io import write_stack

    noise = np.random.default_rng(0).integers(0, 255, (3, 70, 50), dtype=np.uint8)
    path = tmp_path / "stack.tif"
    write_stack(path, noise, (16.0, 16.0, 16.0))
    return path
