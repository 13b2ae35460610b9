from __future__ import annotations

import csv
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from solids import blobs
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.io import LabelLegend, LabelVolume, create_labels, read_labels, write_stack
from scsam_monai.io.palette import class_colours

SIZE = (40.0, 10.0, 10.0)
NAMES = ("--class", "1=granule", "--class", "2=mitochondrion", "--class", "3=nucleus")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    labels = blobs((10, 30, 40))
    write_stack("labels.tif", labels, SIZE)
    write_stack("image.tif", labels * 20, SIZE)
    np.save("labels.npy", labels)
    prediction = np.where(labels == 255, 0, np.roll(labels, 1, axis=2))
    write_stack("prediction.tif", np.where(prediction == 255, 0, prediction), SIZE)
    return tmp_path


def scsam(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, words)
    assert result.exit_code == code, result.output
    return result.output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as stream:
        return list(csv.DictReader(stream))


def test_from_labels_to_tables(folder: Path) -> None:
    told = scsam("objects", "labels.tif", "objects.ome.zarr", "--split", "distance", *NAMES)
    assert told.splitlines()[0].split() == ["class", "objects", "um3"]
    assert "objects_objects.csv" in told
    told = scsam(
        "measure", "labels.tif", "figures", "--objects", "objects.ome.zarr", "--image", "image.tif",
        "--contact-nm", "0,30", "--outside", "nucleus", *NAMES,
    )  # fmt: skip
    assert told.splitlines()[0].split() == [
        "class",
        "objects",
        "um3",
        "um2",
        "surface",
        "of",
        "tissue",
        "of",
        "cell",
    ]
    assert [line.split()[0] for line in told.splitlines()[1:4]] == ["granule", "mitochondrion", "nucleus"]
    cut = sum(row["cut_by_the_edge"] == "1" for row in rows(folder / "figures" / "objects.csv"))
    total = len(rows(folder / "figures" / "objects.csv"))
    assert f"{cut} of {total} objects are cut by the edge: sizes and shapes are of the part seen" in told
    objects, classes = rows(folder / "figures" / "objects.csv"), rows(folder / "figures" / "classes.csv")
    assert len(objects) == len(rows(folder / "objects_objects.csv"))
    assert {row["mean_intensity"] for row in objects if row["class"] == "granule"} == {"20"}
    assert objects[0]["nearest_granule_nm"] == ("" if objects[0]["class"] == "granule" else "0")
    assert classes[2]["fraction_of_cell"] == ""
    assert len(rows(folder / "figures" / "contacts.csv")) == 2 * 3 * 2
    stated = json.loads((folder / "figures" / "measure.json").read_text())
    assert stated["voxel_size_nm"] == list(SIZE)
    assert stated["contact_nm"] == [0, 30]


def test_each_command_names_the_next_one_with_what_was_typed(folder: Path) -> None:
    """As printed they work, for labels that state neither their classes nor their voxel size."""
    told = scsam(
        "objects", "labels.npy", "my objects.ome.zarr", "--voxel-size-nm", "40,10,10", "--axes", "zyx", *NAMES
    )
    start, *words = shlex.split(told.splitlines()[-1])
    assert (start, words[:3]) == ("scsam", ["measure", "labels.npy", "labels_figures"])
    told = scsam(*words)
    assert {row["class"] for row in rows(folder / "labels_figures" / "objects.csv")} == {
        "granule",
        "mitochondrion",
        "nucleus",
    }
    assert told.splitlines()[-2:] == [
        "next:",
        "  scsam report labels.npy --measured labels_figures --axes zyx --voxel-size-nm 40,10,10",
    ]
    told = scsam("objects", "labels.tif", "some.tif", *NAMES, "--ignore-label", "4")
    assert told.splitlines()[-1].endswith(" --ignore-label 4")
    told = scsam("measure", "labels.tif", "figures", "--image", "image.tif", *NAMES)
    start, *words = shlex.split(told.splitlines()[-1])
    assert (start, words[:2]) == ("scsam", ["report", "labels.tif"])
    scsam(*words)
    assert (folder / "labels_report.html").is_file()


def test_tables_without_rows_have_columns(folder: Path) -> None:
    write_stack("none.tif", np.zeros((4, 8, 8), np.uint8), SIZE)
    scsam("objects", "none.tif", "ids.tif", "--class", "2=granule")
    scsam("measure", "none.tif", "figures", "--class", "2=granule")
    assert Path("ids_objects.csv").read_text().startswith("id,class_id,class,voxels,volume_nm3,box_z0,")
    assert Path("figures/objects.csv").read_text().startswith("id,class_id,class,voxels,volume_nm3,surface")
    assert Path("figures/contacts.csv").read_text().startswith("class,near_class,within_nm,contact_nm2,")
    (row,) = rows(Path("figures/classes.csv"))
    assert (row["class_id"], row["class"], row["objects"], row["volume_nm3"]) == ("2", "granule", "0", "0")


def test_parquet_holds_the_same(folder: Path) -> None:
    parquet = pytest.importorskip(
        "pyarrow.parquet", reason="needs pyarrow: pip install 'scsam-monai[parquet]'"
    )
    scsam("measure", "labels.tif", "figures", "--parquet")
    for name in ("objects", "classes", "contacts"):
        table = parquet.read_table(folder / "figures" / f"{name}.parquet").to_pylist()
        written = rows(folder / "figures" / f"{name}.csv")
        assert len(table) == len(written)
        assert list(table[0]) == list(written[0])


def test_parquet_without_its_library_is_refused_first(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    told = scsam("measure", "labels.tif", "figures", "--parquet", code=2)
    assert "pip install 'scsam-monai[parquet]'" in told
    assert not (folder / "figures").exists()


def test_scores(folder: Path) -> None:
    told = scsam("evaluate", "prediction.tif", "labels.tif", "--output", "scores", "--samples", "20", *NAMES)
    assert told.splitlines()[0].split()[:3] == ["class", "iou", "dice"]
    assert "95 % intervals over 64 blocks" in told
    assert len(rows(folder / "scores" / "scores.csv")) == 4 * 8
    stated = json.loads((folder / "scores" / "evaluation.json").read_text())
    assert (stated["tolerance_nm"], stated["parts"]) == (80, 64)
    part = scsam("evaluate", "prediction.tif", "labels.tif", "--z", "0:5", "--samples", "0")
    assert "class 3" in part


def named_prediction(path: str, labels: np.ndarray) -> None:
    legend = LabelLegend(("background", "granule", "mitochondrion"), class_colours(3))
    create_labels(path, labels.shape, SIZE, legend)
    LabelVolume(path).write([(0, length) for length in labels.shape], labels)


def iou(told: str) -> dict[str, str]:
    lines = [line.split() for line in told.splitlines() if line.startswith(("granule", "mitochondrion"))]
    return {words[0]: words[1] for words in lines}


def test_what_a_mask_of_0_and_1_is_taken_for_is_said(folder: Path) -> None:
    labels = np.zeros((4, 30, 40), np.uint8)
    labels[:, 5:20, 5:20] = 2
    named_prediction("found.ome.zarr", labels)
    write_stack("mask.tif", (labels > 0).astype(np.uint8), SIZE)
    told = scsam("evaluate", "found.ome.zarr", "mask.tif", "--samples", "0")
    assert iou(told) == {"granule": "0.000", "mitochondrion": "0.000"}
    assert "mask.tif were taken by the prediction's numbers: 1 for granule; --class VALUE=NAME" in told
    assert "mask.tif has no mitochondrion, which the prediction has: they score 0" in told
    assert told.rstrip().endswith("--annotated granule")
    told = scsam(
        "evaluate", "found.ome.zarr", "mask.tif", "--samples", "0", "--annotated", "granule",
    )  # fmt: skip
    assert "they score 0" not in told


def test_what_is_printed_for_classes_that_the_truth_lacks_works_when_typed(folder: Path) -> None:
    labels = np.zeros((4, 30, 40), np.uint8)
    labels[:, 5:20, 5:20], labels[:, 5:20, 22:30], labels[:, 22:28, 5:20] = 2, 1, 3
    legend = LabelLegend(("background", "dense granule", "mitochondrion", "er"), class_colours(4))
    create_labels("found.ome.zarr", labels.shape, SIZE, legend)
    LabelVolume("found.ome.zarr").write([(0, length) for length in labels.shape], labels)
    truth = np.where(labels == 3, 0, labels)
    write_stack("truth.tif", truth, SIZE)
    told = scsam("evaluate", "found.ome.zarr", "truth.tif", "--samples", "0")
    assert "truth.tif has no er, which the prediction has" in told
    words = shlex.split(told.rstrip().rpartition("looked for them, ")[2])
    assert words == ["--annotated", "dense granule", "--annotated", "mitochondrion"]
    assert "has no er" not in scsam("evaluate", "found.ome.zarr", "truth.tif", "--samples", "0", *words)
    truth[labels == 3] = 255  # nobody knows what is there
    write_stack("truth.tif", truth, SIZE)
    assert "has no er" not in scsam("evaluate", "found.ome.zarr", "truth.tif", "--samples", "0")


def test_a_mask_of_0_and_255_is_scored_as_what_the_user_says(folder: Path) -> None:
    labels = np.zeros((4, 30, 40), np.uint8)
    labels[:, 5:20, 5:20] = 2
    named_prediction("found.ome.zarr", labels)
    write_stack("mask.tif", (labels > 0).astype(np.uint8) * 255, SIZE)
    refused = scsam("evaluate", "found.ome.zarr", "mask.tif", "--samples", "0", code=2)
    assert "mask.tif: expected voxels of a class, met the values 0, 255 alone" in refused
    assert "--class 255=granule" in refused
    told = scsam("evaluate", "found.ome.zarr", "mask.tif", "--samples", "0", "--class", "255=mitochondrion")
    assert iou(told)["mitochondrion"] == "1.000"
    assert "unknown" not in told
    assert "in brackets" not in told
    assert "taken by" not in told
    refused = scsam("evaluate", "found.ome.zarr", "mask.tif", "--class", "255=nucleus", code=2)
    assert "--class: expected a class of the prediction: granule, mitochondrion, met nucleus" in refused
    write_stack("plain.tif", labels, SIZE)
    both = scsam(
        "evaluate", "plain.tif", "mask.tif", "--samples", "0",
        "--class", "2=mitochondrion", "--class", "255=mitochondrion",
    )  # fmt: skip
    assert iou(both) == {"mitochondrion": "1.000"}


def test_unknown_voxels_may_have_a_name_in_the_legend(folder: Path) -> None:
    labels = np.zeros((4, 30, 40), np.uint8)
    labels[:, 5:20, 5:20], labels[:, 22:28] = 1, 2
    named_prediction("found.ome.zarr", labels)
    scsam("measure", "found.ome.zarr", "figures", "--ignore-label", "2")
    assert [row["class"] for row in rows(Path("figures/classes.csv"))] == ["granule"]
    assert json.loads(Path("figures/measure.json").read_text())["ignore_label"] == 2


def test_crumbs_are_told_with_the_size_that_leaves_them_out(folder: Path) -> None:
    labels = np.zeros((6, 40, 60), np.uint8)
    labels[:, 3:20, 3:20], labels[1, 30, 5:50:10], labels[2, 25:30, 30:35] = 1, 1, 1
    write_stack("labels.tif", labels, SIZE)
    told = scsam("objects", "labels.tif", "all.tif", "--class", "1=granule")
    assert "note: 5 of 6 objects have fewer than 100 voxels and are most likely crumbs; --min-size-nm" in told
    words = told[told.index("--min-size-nm") :].split()[:2]
    fewer = scsam("objects", "labels.tif", "few.tif", "--class", "1=granule", *words)
    assert "crumbs" not in fewer
    assert re.search(r"granule +1 ", fewer)


def test_a_mask_of_0_and_255_is_measured_as_what_the_user_says(folder: Path) -> None:
    labels = np.zeros((4, 30, 40), np.uint8)
    labels[:, 5:20, 5:20] = 255
    write_stack("mask.tif", labels, SIZE)
    for words in (("objects", "mask.tif", "found.tif"), ("measure", "mask.tif", "figures")):
        refused = scsam(*words, code=2)
        assert "mask.tif: expected voxels of a class, met the values 0, 255 alone: background and" in refused
        assert not Path(words[-1]).exists()
        told = scsam(*words, *shlex.split(refused.rstrip().rpartition("say which, like ")[2]))
        assert re.search(r"mitochondrion +1 ", told)
    assert (read_labels("found.tif").array == labels // 255).all()
    assert [row["class"] for row in rows(Path("figures/classes.csv"))] == ["mitochondrion"]
    assert json.loads(Path("figures/measure.json").read_text())["ignore_label"] is None
    for words in (["--class", "1=granule"], ["--class", "255=unknown"]):  # what was said leaves 255 unknown
        scsam("objects", "mask.tif", f"{words[1]}.tif", *words)
        assert not read_labels(f"{words[1]}.tif").array.any()
    write_stack("nothing.tif", np.zeros((4, 30, 40), np.uint8), SIZE)
    scsam("objects", "nothing.tif", "none.tif")


def test_an_image_in_place_of_the_truth_is_refused(folder: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 30, 40), np.uint8)
    write_stack("raw.tif", image, SIZE)
    for name in ("found.ome.zarr", "plain.tif"):
        labels = (image > 200).astype(np.uint8)
        (named_prediction if name.endswith("zarr") else lambda p, a: write_stack(p, a, SIZE))(name, labels)
        told = scsam("evaluate", name, "raw.tif", code=2)
        assert "raw.tif: expected values that are classes of the prediction" in told
        assert "more values" in told
        assert told.count("\n") == 1


def test_a_truth_without_voxel_size_takes_the_predictions(folder: Path) -> None:
    told = scsam("evaluate", "prediction.tif", "labels.npy", "--samples", "0")
    assert "labels.npy states no voxel size: that of prediction.tif is taken, 40, 10, 10 nm" in told
    told = scsam("evaluate", "prediction.tif", "labels.npy", "--samples", "0", "--voxel-size-nm", "40,5,5")
    assert "warning: prediction.tif states 40, 10, 10 nm, scored with 40, 5, 5 nm" in told


def test_what_the_prediction_leaves_unknown_counts_as_background(folder: Path) -> None:
    truth = np.zeros((4, 30, 40), np.uint8)
    truth[:, 5:15, 5:15] = 1
    prediction = truth.copy()
    prediction[:, 10:, :] = 255
    write_stack("padded.tif", prediction, SIZE)
    write_stack("truth.tif", truth, SIZE)
    told = scsam("evaluate", "padded.tif", "truth.tif", "--samples", "0", "--class", "1=granule")
    assert "3,200 voxels that the prediction leaves unknown count as background" in told
    assert iou(told) == {"granule": "0.500"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["objects", "labels.npy", "o.ome.zarr"],
            "labels.npy: expected a voxel size in nm, met none in the file",
        ),
        (
            ["measure", "labels.npy", "figures"],
            "labels.npy: expected a voxel size in nm, met none in the file",
        ),
        (["evaluate", "labels.npy", "labels.npy"], "labels.npy: expected a voxel size in nm, met none"),
        (["objects", "labels.tif", "labels.tif"], "labels.tif: expected no output yet"),
        (["objects", "labels.tif", "o.png"], "o.png: expected an image file (.ome.zarr, .zarr, .tif, .tiff)"),
        (["objects", "labels.tif", "o.tif", "--split", "map"], "split map: expected a map of the network"),
        (["objects", "labels.tif", "o.tif", "--class", "a"], "--class: expected VALUE=NAME"),
        (["measure", "labels.tif", "labels.tif"], "labels.tif: expected no output yet"),
        (["measure", "labels.tif", "f", "--contact-nm", "a"], "--contact-nm: expected distances in nm"),
        (["measure", "labels.tif", "f", "--outside", "glia"], "outside: expected a class"),
        (["measure", "labels.tif", "f", "--objects", "o.tif", "--min-size-nm", "3"], "beside --objects"),
        (["evaluate", "prediction.tif", "labels.tif", "--z", "0:99"], "z"),
    ],
)
def test_slips_are_one_line(folder: Path, words: list[str], message: str) -> None:
    told = scsam(*words, code=2)
    assert message in told
    assert told.count("\n") == 1


def test_slips_are_told_before_torch_is_imported(folder: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from scsam_monai.cli import app; app()"
    for words in (
        ["objects", "labels.npy", "o.ome.zarr"],
        ["measure", "labels.npy", "f"],
        ["evaluate", "a.tif", "b.tif"],
    ):
        command = [sys.executable, "-c", code, *words]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 2, result.stderr
        assert result.stderr.startswith("error: ")
