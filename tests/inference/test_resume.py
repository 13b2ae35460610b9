"""Runs that were stopped or killed, or done in shares, end in the same bytes as one that was not."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from front_door import grey, predict, predict_and_die, tree

from scsam_monai.errors import InputError
from scsam_monai.inference.runners import Shard

OPTIONS: dict[str, Any] = {"block": (4, 256, 40), "products": ["probabilities"]}
NAMES = ("labels.ome.zarr", "labels.tif")
Trees = dict[str, dict[str, bytes | None]]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("volume") / "cell.npy"
    np.save(path, grey(4, 560, 40))
    return path


@pytest.fixture(scope="module")
def expected(volume: Path, model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Trees:
    """What uninterrupted runs leave, by the name of their output."""
    trees = {}
    for name in NAMES:
        folder = tmp_path_factory.mktemp("uninterrupted")
        assert predict(volume, folder / name, model_path, **OPTIONS)
        trees[name] = tree(folder)
    return trees


@pytest.fixture(scope="module")
def processes() -> Any:
    """Fresh processes that need not import torch again, and were never forked from one that computes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scsam_monai.inference", "scsam_monai.report.palette", "zarr"])
    return context


def die(processes: Any, point: str, call: int, volume: Path, output: Path, model: Path) -> None:
    process = processes.Process(
        target=predict_and_die, args=(point, call, volume, output, model), kwargs=OPTIONS
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("groups", [0, 1, 2])
def test_a_stopped_run_goes_on(
    volume: Path, model_path: Path, tmp_path: Path, expected: Trees, groups: int
) -> None:
    def cancels() -> Iterator[bool]:
        yield from [False] * groups
        while True:
            yield True

    answers, output = cancels(), tmp_path / NAMES[0]
    assert not predict(volume, output, model_path, cancel=lambda: next(answers), **OPTIONS)
    assert not output.exists()
    assert predict(volume, output, model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[NAMES[0]]


def test_a_run_stopped_in_its_pyramid_goes_on(
    volume: Path, model_path: Path, tmp_path: Path, expected: Trees
) -> None:
    stages: list[str] = []
    finished = predict(
        volume, tmp_path / NAMES[0], model_path,
        progress=lambda stage, *_: stages.append(stage), cancel=lambda: stages[-1:] == ["pyramid of labels"],
        **OPTIONS,
    )  # fmt: skip
    assert not finished
    assert stages.count("pyramid of labels") == 1  # of three chunks
    assert not (tmp_path / NAMES[0]).exists()
    assert predict(volume, tmp_path / NAMES[0], model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[NAMES[0]]


@pytest.mark.parametrize(
    ("name", "point", "call"),
    [
        (NAMES[0], "inference.manifest:Manifest.begin", 1),
        (NAMES[0], "inference.store:create_labels", 1),
        (NAMES[0], "io.ome_zarr_volume:sync_files", 3),  # labels of a block are there, probabilities are not
        (NAMES[0], "inference.manifest:Manifest.mark", 1),
        (NAMES[0], "inference.manifest:Manifest.mark", 3),
        (NAMES[0], "io.pyramid:fill_region", 1),
        (NAMES[0], "inference.store:move_into_place", 1),
        (NAMES[0], "inference.store:move_into_place", 2),
        (NAMES[1], "inference.store:export_labels", 1),
        (NAMES[1], "inference.store:move_into_place", 1),
    ],
)
def test_a_killed_run_goes_on(
    processes: Any,
    volume: Path,
    model_path: Path,
    tmp_path: Path,
    expected: Trees,
    name: str,
    point: str,
    call: int,
) -> None:
    die(processes, point, call, volume, tmp_path / name, model_path)
    with pytest.raises(InputError, match=r"no earlier run on this output, met one with \d of 3 blocks done"):
        predict(volume, tmp_path / name, model_path, **OPTIONS)
    assert predict(volume, tmp_path / name, model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[name]


def test_killed_over_its_last_act(
    processes: Any, volume: Path, model_path: Path, tmp_path: Path, expected: Trees
) -> None:
    """The output is whole by then; what is left of the progress goes when somebody comes by."""
    die(processes, "inference.manifest:sync_files", 3, volume, tmp_path / NAMES[1], model_path)
    with pytest.raises(InputError, match=r"labels\.tif: expected no output yet, met one that is there"):
        predict(volume, tmp_path / NAMES[1], model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[NAMES[1]]


def test_killed_over_and_over(
    processes: Any, volume: Path, model_path: Path, tmp_path: Path, expected: Trees
) -> None:
    output = tmp_path / NAMES[0]
    die(processes, "inference.manifest:Manifest.mark", 1, volume, output, model_path)
    for point, call in (("io.ome_zarr_volume:sync_files", 2), ("io.pyramid:fill_region", 2)):
        process = processes.Process(
            target=predict_and_die,
            args=(point, call, volume, output, model_path),
            kwargs={"resume": True, **OPTIONS},
        )
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert predict(volume, output, model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[NAMES[0]]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_shards_in_any_order(
    volume: Path, model_path: Path, tmp_path: Path, expected: Trees, order: tuple[int, ...]
) -> None:
    finished = [
        predict(volume, tmp_path / NAMES[0], model_path, shard=Shard.parse(f"{share}/3"), **OPTIONS)
        for share in order
    ]
    assert finished == [False, False, True]
    assert tree(tmp_path) == expected[NAMES[0]]


def test_dask(volume: Path, model_path: Path, tmp_path: Path, expected: Trees) -> None:
    pytest.importorskip("distributed")
    assert predict(volume, tmp_path / NAMES[0], model_path, runner="dask", workers=2, **OPTIONS)
    assert tree(tmp_path) == expected[NAMES[0]]


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_in_the_way_of_the_last_move_is_left_alone(
    volume: Path, model_path: Path, tmp_path: Path, expected: Trees, name: str
) -> None:
    output = tmp_path / name
    with pytest.raises(InputError, match=f"{name}: expected no output yet, met one that has come since"):
        predict(
            volume,
            output,
            model_path,
            progress=lambda *_: output.write_text("somebody else's"),
            **OPTIONS,
        )
    assert output.read_text() == "somebody else's"
    with pytest.raises(InputError, match="expected no output yet, met one that is there"):
        predict(volume, output, model_path, resume=True, **OPTIONS)
    output.unlink()
    assert predict(volume, output, model_path, resume=True, **OPTIONS)
    assert tree(tmp_path) == expected[name]
