"""Some sections alone: labelled as in the whole volume, to the last bit, and said where they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import tifffile
from click.testing import Result
from front_door import grey, whole
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.inference.begun import begun_job
from scsam_monai.inference.manifest import Manifest
from scsam_monai.io import ImageVolume, LabelVolume, write_stack
from scsam_monai.report.labels_page import labels_page

MAPS = ("labels", "labels_probabilities", "labels_confidence")


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    """Eleven sections; the first is black, and all have a frame and a corner that are."""
    volume = np.clip(grey(11, 70, 100), 1, 254)
    volume[0] = 0
    volume[:, :9] = volume[:, :, 83:] = 0
    volume[5, :40, :30] = 0
    volume[3] //= 2  # its own contrast is another than that of all
    np.save(tmp_path / "stack.npy", volume)
    return tmp_path / "stack.npy"


@pytest.fixture
def predict(stack: Path, model_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(stack.parent)
    options = ["--model", model_path, "--window", 64, "--threads", 1, "--device", "cpu", "--batch", 8]

    def run(output: object, *words: object) -> Result:
        size = "--voxel-size-nm=20,16,16"
        return CliRunner().invoke(
            app, [str(w) for w in ("predict", "stack.npy", output, *options, size, *words)]
        )

    return run


@pytest.mark.parametrize("span", [(4, 7), (0, 2), (10, 11)])
def test_they_are_labelled_as_in_the_whole(predict: Any, span: tuple[int, int]) -> None:
    maps = ("--confidence", "--probabilities")
    assert predict("whole/labels.ome.zarr", *maps).exit_code == 0
    done = predict("part/labels.ome.zarr", "--z", f"{span[0]}:{span[1]}", *maps)
    assert done.exit_code == 0, done.output
    assert f"section 0 of the labels is section {span[0]} there" in done.stderr
    for name in MAPS:
        kind = LabelVolume if name == "labels" else ImageVolume
        of_all, of_some = (kind(Path(folder, f"{name}.ome.zarr")) for folder in ("whole", "part"))
        box = [(0, edge) for edge in of_some.shape[-3:]]
        assert of_some.shape[-3] == span[1] - span[0]
        expected = of_all.read([span, *box[1:]])
        assert expected.any()
        np.testing.assert_array_equal(of_some.read(box), expected)


def test_they_say_where_they_are(predict: Any) -> None:
    assert predict("part.ome.zarr", "--z", "4:7").exit_code == 0
    volume = LabelVolume("part.ome.zarr")
    assert volume.attributes["source"]["sections"] == [4, 7]
    assert volume.offset_nm == (80.0, 0.0, 0.0)
    transforms = [d["coordinateTransformations"] for d in volume.ome["multiscales"][0]["datasets"]]
    assert transforms[0][1] == {"type": "translation", "translation": [80.0, 0.0, 0.0]}
    assert predict("part.nii.gz", "--z", "4:7").exit_code == 0
    np.testing.assert_allclose(nibabel.load("part.nii.gz").affine[:3, 3], [0, 0, 80e-6], rtol=1e-6)
    assert predict("part.tif", "--z", "4:7").exit_code == 0
    with tifffile.TiffFile("part.tif") as file:
        assert file.imagej_metadata["zorigin"] == -4
    np.testing.assert_array_equal(whole(Path("part.tif")), whole(Path("part.ome.zarr")))
    assert predict("all.ome.zarr").exit_code == 0
    assert "sections" not in LabelVolume("all.ome.zarr").attributes["source"]
    assert LabelVolume("all.ome.zarr").offset_nm == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["part.ome.zarr", "part.tif", "part.nii.gz"])
def test_reports_and_measures_take_these_sections_of_the_image(predict: Any, stack: Path, name: str) -> None:
    assert predict(name, "--z", "3:6").exit_code == 0
    page = labels_page(name, stack)
    assert page.sheets[-1].title == "z 5 of 3 to 5"
    assert name != "part.ome.zarr" or "--z 3:6" in page.commands[0]
    done = CliRunner().invoke(app, ["measure", name, "figures", "--image", "stack.npy"])
    assert done.exit_code == 0, done.output
    with Path("figures/objects.csv").open() as file:
        rows = list(csv.DictReader(file))
    labels, image = whole(Path(name)), np.load(stack)[3:6]
    summed = sum(float(row["mean_intensity"]) * int(row["voxels"]) for row in rows)
    assert summed == pytest.approx(float(image[labels > 0].sum()), rel=1e-6)


@pytest.mark.parametrize(
    ("name", "span"),
    [
        ("part.ome.zarr", (4, 7)),
        ("part.tif", (4, 7)),
        ("part.tif", (0, 2)),
        ("part.nii.gz", (0, 2)),
        ("part.ome.zarr", (0, 2)),
        ("part.ome.zarr", (10, 11)),
    ],
)
def test_they_are_scored_against_the_same_sections_of_the_truth(
    predict: Any, name: str, span: tuple[int, int]
) -> None:
    first, last = span
    assert predict(name, "--z", f"{first}:{last}").exit_code == 0
    labels = whole(Path(name))
    truth = np.zeros((11, 70, 100), np.uint8)
    truth[first:last] = np.roll(labels, 3, axis=2)
    write_stack("truth.tif", truth, (20, 16, 16))
    write_stack("same.tif", truth[first:last] if last - first > 1 else truth[first], (20, 16, 16))
    words = ["--samples", "0"]

    def scores(truth: str, *more: str) -> Result:
        done = CliRunner().invoke(app, ["evaluate", name, truth, *words, *more])
        assert done.exit_code == 0, done.output
        return done

    told = scores("truth.tif", "--output", "scores")
    assert f"{name} is of sections {first}:{last} of truth.tif" in told.stderr
    assert told.stdout.splitlines()[:-1] == scores("same.tif").stdout.splitlines()
    assert json.loads(Path("scores/evaluation.json").read_text())["z"] == f"{first}:{last}"
    assert scores("truth.tif", "--z", f"{last - 1}:{last}").stdout
    done = CliRunner().invoke(app, ["evaluate", name, "truth.tif", "--z", "7:9", *words])
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1] == (
        f"error: --z: expected sections from {first} to {last}, the end excluded, met 7:9; like --z {first}:{last}"
    )


def test_those_that_the_truth_has_not_are_refused(predict: Any) -> None:
    assert predict("part.ome.zarr", "--z", "4:7").exit_code == 0
    write_stack("short.tif", np.ones((5, 70, 100), np.uint8), (20, 16, 16))
    done = CliRunner().invoke(app, ["evaluate", "part.ome.zarr", "short.tif"])
    assert done.exit_code == 2
    assert "met (3, 70, 100) from section 4 on" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--z", "4:12"], "--z: expected sections of stack.npy from 0 to 11, the end excluded, met 4:12"),
        (["--z", "7:7"], "--z: expected sections of stack.npy"),
        (["--z", "four"], "--z: expected a range START:STOP"),
        (["--z", "0:1"], "--z: expected sections that are not empty, met 0:1"),
        (["--z", "2:4", "--planes", "3"], "--z: expected one plane"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(predict: Any, words: list[str], message: str) -> None:
    done = predict("no.ome.zarr", *words)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {message}")
    assert not Path("no.ome.zarr").exists()


def test_a_stopped_run_goes_on_with_its_sections(predict: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "mark", interrupted)
        assert predict("part.ome.zarr", "--z", "4:7").exit_code == 130
    begun = begun_job("part.ome.zarr")
    assert begun is not None
    assert begun.source.sections == (4, 7)
    done = predict("part.ome.zarr", "--resume")
    assert done.exit_code == 0, done.output
    assert LabelVolume("part.ome.zarr").shape == (3, 70, 100)
