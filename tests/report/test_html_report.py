"""Reports on labels and on runs: what they count and show, and that they need nothing but themselves."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from scsam_monai.cli import app
from scsam_monai.cli.predicted import print_result
from scsam_monai.errors import InputError
from scsam_monai.filesystem.bundle_folder import bundle_folder
from scsam_monai.inference.job import Source
from scsam_monai.inference.products import Product
from scsam_monai.io import LabelLegend, LabelVolume, create_labels, export_labels, read_image, write_stack
from scsam_monai.io.inventory import digest_of
from scsam_monai.io.label_legend import read_legend
from scsam_monai.io.palette import class_colours
from scsam_monai.io.volume import ArrayVolume
from scsam_monai.measure.recorded import recorded_axes
from scsam_monai.report.evaluated import find_evaluation
from scsam_monai.report.kept_sections import keep_section
from scsam_monai.report.label_sheets import label_sheets
from scsam_monai.report.labels_page import labels_page
from scsam_monai.report.page import Page, render, write_page
from scsam_monai.report.provenance import find_model, predict_command
from scsam_monai.report.run_page import run_page
from scsam_monai.report.scale_bar import scale_bar
from scsam_monai.report.survey import profile_areas, survey
from scsam_monai.training.handlers.record import without_folders

NAMES = ("background", "mitochondrion", "<b>granule</b>")
SIZE = (40.0, 5.0, 5.0)


def make_labels(folder: Path) -> tuple[Path, Path, np.ndarray]:
    """An image of two sections, and its labels as OME-Zarr: a square of each class."""
    labels = np.zeros((2, 64, 96), np.uint8)
    labels[:, 10:20, 10:30] = 1
    labels[1, 40:44, 50:55] = 2
    grey = np.random.default_rng(0).integers(0, 255, labels.shape, dtype=np.uint8)
    write_stack(folder / "cell.tif", grey, SIZE)
    legend = LabelLegend(NAMES, class_colours(3))
    create_labels(folder / "found.ome.zarr", labels.shape, SIZE, legend)
    LabelVolume(folder / "found.ome.zarr").write([(0, length) for length in labels.shape], labels)
    return folder / "cell.tif", folder / "found.ome.zarr", labels


def test_labels_are_counted_and_named(tmp_path: Path) -> None:
    image, path, _ = make_labels(tmp_path)
    page = labels_page(path, image)
    fractions, profiles = page.tables
    assert fractions.rows[1] == ["mitochondrion", "400", "0.0004", "3.26 %"]
    assert fractions.rows[2][:2] == ["<b>granule</b>", "20"]
    assert profiles.rows[0] == ["mitochondrion", "2", "5,000", "5,000", "5,000"]
    assert [entry.name for entry in page.legend] == list(NAMES[1:])
    assert [[layer.index for layer in sheet.layers] for sheet in page.sheets] == [[1], [1, 2]]
    assert any("does not record how it was made" in warning for warning in page.warnings)


def test_labels_without_names_show_what_is_there(tmp_path: Path) -> None:
    image, _, labels = make_labels(tmp_path)
    labels[0, 60:] = 255
    write_stack(tmp_path / "plain.tif", labels, SIZE)
    page = labels_page(tmp_path / "plain.tif", image)
    assert [row[0] for row in page.tables[0].rows] == ["background", "class 1", "class 2", "unknown"]
    assert [entry.index for entry in page.legend] == [1, 2]


def test_unknown_voxels_are_no_class_and_in_no_share(tmp_path: Path) -> None:
    image, _, labels = make_labels(tmp_path)
    labels[:, 32:] = 255
    for kind in ("uint8", "float32", "uint64", "int16"):
        np.save(tmp_path / "l.npy", labels.astype(kind))
        page = labels_page(tmp_path / "l.npy", image)
        share = {row[0]: row[-1] for row in page.tables[0].rows}
        assert share == {"background": "93.49 %", "class 1": "6.51 %", "unknown": "-"}
        assert [entry.name for entry in page.legend] == ["class 1"]


def test_ids_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    image, _, labels = make_labels(tmp_path)
    np.save(tmp_path / "l.npy", labels.astype(np.uint16) * 150)
    with pytest.raises(InputError, match="expected class ids up to 255, met 300"):
        labels_page(tmp_path / "l.npy", image)


def test_the_image_is_shown_with_the_axes_it_was_segmented_with(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (40, 40, 40), np.uint8)
    np.save(tmp_path / "cube.npy", grey.T)
    labels = np.zeros(grey.shape, np.uint8)
    labels[:, 5:20, 5:30] = 1
    np.save(tmp_path / "l.npy", labels)
    np.save(tmp_path / "zyx.npy", grey)
    expected = labels_page(tmp_path / "l.npy", tmp_path / "zyx.npy").sheets[0]
    shown = labels_page(tmp_path / "l.npy", tmp_path / "cube.npy", image_axes="xyz").sheets[0]
    assert shown.image == expected.image
    assert labels_page(tmp_path / "l.npy", tmp_path / "cube.npy").sheets[0].image != expected.image
    legend = LabelLegend(NAMES[:2], class_colours(2))
    job = {"model_sha256": "0", "source": {"axes": "xyz", "path": "cube.npy"}}
    create_labels(tmp_path / "l.ome.zarr", labels.shape, SIZE, legend, attributes=job)
    assert recorded_axes(tmp_path / "l.ome.zarr") == "xyz"


def test_an_image_of_another_shape_is_refused(tmp_path: Path) -> None:
    image, path, _ = make_labels(tmp_path)
    write_stack(image, np.zeros((2, 32, 96), np.uint8), SIZE)
    with pytest.raises(InputError, match="shape of the labels"):
        labels_page(path, image)
    with pytest.raises(InputError, match="--image"):
        labels_page(path)


def test_exported_labels_keep_their_legend(tmp_path: Path) -> None:
    _, path, _ = make_labels(tmp_path)
    export_labels(path, tmp_path / "found.tif")
    for file in (path, tmp_path / "found.tif"):
        legend = read_legend(file)
        assert legend is not None
        assert legend.class_names == NAMES
        np.testing.assert_array_equal(legend.colours, class_colours(3))
    assert read_legend(tmp_path / "cell.tif") is None


def test_profiles_are_counted_apart_and_large_volumes_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    section = np.zeros((8, 8), np.uint8)
    section[0, 0] = section[1, 1] = section[5, 5] = 1
    assert profile_areas(section)[1].tolist() == [2, 1]
    monkeypatch.setattr("scsam_monai.report.survey.COUNTED_WHOLE", 100)
    counted = survey(ArrayVolume(np.repeat(section[None], 200, axis=0)))
    assert (counted.sections, counted.of) == (64, 200)
    assert counted.voxels[1] == 3 * 64


def test_a_report_holds_all_it_shows_and_escapes_what_it_says(tmp_path: Path) -> None:
    image, path, _ = make_labels(tmp_path)
    text = render(labels_page(path, image))
    assert "&lt;b&gt;granule&lt;/b&gt;" in text
    assert "<b>" not in text
    sources = re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"'\s)>]+)""", text)
    assert sources
    assert all(source.startswith("data:") for source in sources)
    assert "default-src 'none'" in text


def test_a_report_appears_whole(tmp_path: Path) -> None:
    written = write_page(Page("A title"), tmp_path / "report.html")
    assert "<h1>A title</h1>" in written.read_text("utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def make_run(folder: Path, *, epoch: int = 2, value: float | None = 0.5) -> Path:
    """What a run leaves, in small."""
    config = json.loads((bundle_folder() / "configs" / "train.json").read_text("utf-8"))
    config |= {"epochs": 4, "dataset_dir": "my cells"}
    config["network_def"] |= {"tokens": 2}
    record = {
        "class_names": ["background", "mitochondrion", "granule"],
        "versions": {"torch": "2.9"},
        "platform": {"system": "Linux"},
        "network": {"preset": "plus"},
        "data_sha256": "ab",
        "config_sha256": "cd",
        "config": json.dumps(config),
    }
    (folder / "test").mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    model = {"metric": {"name": "mean_iou", "value": value}, "epoch": epoch, "model_sha256": "ef"}
    (folder / "model.json").write_text(json.dumps(model))
    (folder / "metrics.csv").write_text(
        "epoch,mean_iou,mean_dice,iou_mitochondrion,iou_granule\n1,0.2,0.3,0.4,\n2,0.5,0.6,0.5,0.5\n"
    )
    (folder / "test" / "metrics.csv").write_text(
        "name,iou,dice,voxels\nbackground,0.9,0.95,9000\nmitochondrion,0.0,0.0,600\ngranule,0.5,0.6,499\n"
    )
    return folder


def test_a_run_is_told_with_its_scores_and_what_to_mind(tmp_path: Path) -> None:
    page = run_page(make_run(tmp_path / "run"))
    assert page.tables[0].rows[2] == ["granule", "0.500", "0.600", "499"]
    told = " ".join(page.warnings)
    assert "Fewer than 500 voxels of granule" in told
    assert "Nothing of mitochondrion was found" in told
    assert "The last epoch was the best" in told
    words = shlex.split(page.commands[0])
    assert words[:4] == ["scsam", "train", "my cells", "run_again"]
    assert words[4:] == ["--set", "epochs=4", "--set", "network_def::tokens=2"]
    assert "--voxel-size-nm Z,Y,X" in page.next_steps[0][1]
    assert "IoU on the validation part" in render(page)


def test_a_run_is_told_again_without_what_is_the_bundles_own(tmp_path: Path) -> None:
    """Records cut paths in their values to the last name, which makes these no choices of the user's."""
    folder = make_run(tmp_path / "run")
    record = json.loads((folder / "run.json").read_text())
    assert "/data/embeddings" in record["config"]
    record["config"] = without_folders(record["config"])
    assert "/data/embeddings" not in record["config"]
    (folder / "run.json").write_text(json.dumps(record))
    assert "_dir" not in run_page(folder).commands[0]
    config = json.loads(record["config"]) | {"cache_dir": "mine"}
    (folder / "run.json").write_text(json.dumps(record | {"config": json.dumps(config)}))
    assert "--set cache_dir=mine" in run_page(folder).commands[0]


@pytest.mark.parametrize(
    ("epochs", "interval", "told"), [(16, 2, True), (4, 2, True), (3, 2, False), (2, 1, False)]
)
def test_a_run_that_was_stopped_says_so_and_how_it_goes_on(
    tmp_path: Path, epochs: int, interval: int, told: bool
) -> None:
    folder = make_run(tmp_path / "run")  # validated last after epoch 2
    record = json.loads((folder / "run.json").read_text())
    config = json.loads(record["config"]) | {"epochs": epochs, "val_interval": interval}
    (folder / "run.json").write_text(json.dumps(record | {"config": json.dumps(config)}))
    said = [warning for warning in run_page(folder).warnings if "stopped" in warning]
    assert len(said) == told
    assert all(f"after epoch 2 of {epochs}" in warning and "`--resume`" in warning for warning in said)
    config |= {"budget": {"_target_": "any"}}  # its length is that of the budget
    (folder / "run.json").write_text(json.dumps(record | {"config": json.dumps(config)}))
    assert not [warning for warning in run_page(folder).warnings if "stopped" in warning]


def test_the_pictures_are_of_the_epoch_that_was_kept(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", epoch=1)
    (folder / "validation").mkdir()
    for epoch in (1, 2):
        (folder / "validation" / f"cell_epoch{epoch:03d}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    shown = [picture.caption for picture in run_page(folder).pictures if "Validation" in picture.caption]
    assert shown == ["Validation: cell epoch001"]


def test_the_command_of_a_report_says_what_was_declared() -> None:
    job = {
        "model_sha256": "0", "source": {"dataset": None, "axes": "xyz"}, "voxel_size_nm": (8.0, 8.0, 8.0),
        "windows": {"size": 64, "overlap": 0.25, "batch": 1, "planes": 1}, "block": (8, 64, 64), "threads": 1,
        "products": [], "ome_zarr": "0.5", "intensity": (0, 255), "empty_label": 255, "class_names": ["background"],
    }  # fmt: skip
    words = shlex.split(predict_command(job, Path("deep/cube.npy"), Path("deep/l.ome.zarr")))
    assert words[2:4] == ["deep/cube.npy", "deep/l_again.ome.zarr"]
    assert words[words.index("--axes") + 1] == "xyz"
    assert words[words.index("--empty-label") + 1] == "255"


def test_a_run_that_changed_or_validated_nothing_is_told(tmp_path: Path) -> None:
    assert any("unchanged" in text for text in run_page(make_run(tmp_path / "a", epoch=0)).warnings)
    assert any(
        "Nothing was validated" in text for text in run_page(make_run(tmp_path / "b", value=None)).warnings
    )
    with pytest.raises(InputError, match=r"run\.json"):
        run_page(tmp_path)


def test_the_command_of_a_report_makes_the_same_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grey = np.random.default_rng(0).integers(0, 255, (2, 48, 48), dtype=np.uint8)
    write_stack(tmp_path / "cell.tif", grey, (16, 16, 16))
    runner = CliRunner()
    first = ["predict", "cell.tif", "found.ome.zarr", "--window", "64", "--confidence", "--threads", "1"]
    assert runner.invoke(app, first).exit_code == 0
    done = runner.invoke(app, ["report", "found.ome.zarr"])
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == "found_report.html"
    page = labels_page("found.ome.zarr")
    assert any("drawn tissue" in warning for warning in page.warnings)
    assert list(page.sheets[0].maps) == ["confidence (bright: sure)"]
    words = shlex.split(page.commands[0])
    assert words[2:4] == ["cell.tif", "found_again.ome.zarr"]
    assert runner.invoke(app, words[1:]).exit_code == 0
    box = ((0, 2), (0, 48), (0, 48))
    again, found = (LabelVolume(tmp_path / f"{name}.ome.zarr").read(box) for name in ("found_again", "found"))
    np.testing.assert_array_equal(again, found)


def test_the_demo_makes_a_report_from_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["demo", "--threads", "1"])
    assert done.exit_code == 0, done.output
    text = Path("scsam_demo/labels_report.html").read_text("utf-8")
    assert "Arrojo e Drigo Lab" in text
    assert "scsam predict my_image.tif" in text
    assert Path("scsam_demo/islet_license.txt").is_file()
    found = LabelVolume("scsam_demo/labels.ome.zarr")
    drawn = found.read(((0, 1), (0, 1024), (0, 1024)))
    share = np.bincount(drawn.reshape(-1), minlength=8) / drawn.size
    assert share[found.legend.class_names.index("mitochondrion")] > 0.05
    assert share[found.legend.class_names.index("granule")] > 0.1
    again = CliRunner().invoke(app, ["demo"])
    assert again.exit_code == 2
    assert "name another one" in again.output


def test_a_run_has_switches_for_the_sections_that_it_kept(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "run", epoch=1)
    grey = np.random.default_rng(0).random((20, 30))
    truth, first, second = (np.zeros((20, 30), np.int64) for _ in range(3))
    truth[2:8, 2:8], truth[0], first[4:9, 4:9], second[4:9, 4:9] = 1, 255, 2, 1
    for epoch, found in ((1, first), (2, second)):
        keep_section(
            folder / "validation", "validation_cell", grey, truth, found, where="section 3", epoch=epoch
        )
    keep_section(folder / "test", "deep", grey, truth, second, pixel_nm=10.0)
    for name in ("validation/validation_cell_epoch001", "test/deep", "test/other"):
        (folder / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page = run_page(folder)
    assert [(sheet.title, [layer.index for layer in sheet.layers]) for sheet in page.sheets] == [
        ("Test: deep, prediction", [1]),
        ("Test: deep, ground truth", [1]),
        ("Validation: validation_cell, section 3, prediction", [2]),
        ("Validation: validation_cell, section 3, ground truth", [1]),
    ]
    assert [sheet.bar is None for sheet in page.sheets] == [False, False, True, True]
    assert [entry.name for entry in page.legend] == ["mitochondrion", "granule"]
    assert [p.caption for p in page.pictures if p.caption.startswith(("Test", "Val"))] == ["Test: other"]
    assert render(page).count('class="switch"') == 2
    (folder / "test" / "deep_section.npz").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"deep_section\.npz: expected a kept section"):
        run_page(folder)


def scores_of(folder: Path, labels: Path) -> Path:
    """What ``scsam evaluate --output`` leaves, in small."""
    score = {"value": 0.5, "low": 0.4, "high": 0.625}
    told = {
        "prediction": labels.name, "prediction_path": str(labels.resolve()), "prediction_files": digest_of(labels),
        "truth": "truth.tif", "z": "0:1", "unknown_share_of_truth": 0.25, "samples": 10,
        "parts": 4, "resample": "blocks",
        "classes": {"mitochondrion": {"iou": score, "hd95_nm": {"value": None, "low": None, "high": None}}},
    }  # fmt: skip
    folder.mkdir()
    (folder / "evaluation.json").write_text(json.dumps(told))
    return folder


def test_scores_are_found_beside_the_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image, path, _ = make_labels(tmp_path)
    scores_of(tmp_path / "scores", path)
    done = CliRunner().invoke(app, ["report", path.name, "--image", image.name])
    assert done.exit_code == 0, done.output
    text = Path("found_report.html").read_text("utf-8")
    assert "Scores against the ground truth" in text
    assert "0.500 [0.400, 0.625]" in text
    assert "25.00% of the truth is unknown" in text
    os.utime(path / "0" / "zarr.json", (1, 1))  # written anew
    assert CliRunner().invoke(app, ["report", path.name, "--image", image.name]).exit_code == 0
    assert "ground truth" not in Path("found_report.html").read_text("utf-8")


def test_scores_of_other_labels_are_refused(tmp_path: Path) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    image, path, _ = make_labels(tmp_path / "here")
    _, other, _ = make_labels(tmp_path / "there")
    scores = scores_of(tmp_path / "scores", other)
    with pytest.raises(
        InputError, match=r"here.found\.ome\.zarr, met one of \S+there.found\.ome\.zarr; make one"
    ):
        labels_page(path, image, evaluated=scores)
    with pytest.raises(InputError, match=r"evaluation\.json: expected an evaluation, met no such file"):
        labels_page(path, image, evaluated=tmp_path)
    os.utime(other / "0" / "zarr.json", (1, 1))
    with pytest.raises(InputError, match=r"met one from before it was changed"):
        labels_page(other, image, evaluated=scores)


def test_scores_of_labels_of_the_same_name_elsewhere_are_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    image, first, labels = make_labels(tmp_path / "a")
    _, second, _ = make_labels(tmp_path / "b")
    write_stack("truth.tif", labels, SIZE)
    words = ["evaluate", str(first), "truth.tif", "--output", "scores", "--samples", "0"]
    assert CliRunner().invoke(app, words).exit_code == 0
    assert find_evaluation(first) == tmp_path / "scores"
    assert find_evaluation(Path("a", first.name)) == tmp_path / "scores"
    assert find_evaluation(second) is None
    moved = first.rename(tmp_path / "moved.ome.zarr")
    assert find_evaluation(moved) is None
    assert labels_page(moved, image, evaluated="scores").tables[0].title == "Scores against the ground truth"


def test_what_evaluate_writes_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image, path, labels = make_labels(tmp_path)
    write_stack(tmp_path / "truth.tif", labels, SIZE)
    words = ["evaluate", path.name, "truth.tif", "--output", "scores", "--samples", "0"]
    assert CliRunner().invoke(app, words).exit_code == 0
    (table, *_) = labels_page(path, image, evaluated=tmp_path / "scores").tables
    assert {row[0]: row[1:3] for row in table.rows}["mitochondrion"] == ["1.000", "1.000"]


def test_sheets_have_a_scale_bar_where_the_size_is_known(tmp_path: Path) -> None:
    image, path, labels = make_labels(tmp_path)
    (bar, *_) = [sheet.bar for sheet in labels_page(path, image).sheets]
    assert bar == (100 / (96 * 5), "100 nm")
    text = render(labels_page(path, image))
    assert '<div class="bar" style="width:20.833%"><span>100 nm</span></div>' in text
    np.save(tmp_path / "plain.npy", labels)
    np.save(tmp_path / "grey.npy", labels)
    assert labels_page(tmp_path / "plain.npy", tmp_path / "grey.npy").sheets[0].bar is None


@pytest.mark.parametrize(
    ("width", "text"), [(90, "10 nm"), (4000, "500 nm"), (4600, "1 µm"), (1e7, "2 mm"), (5e6 / 0.22, "5 mm")]
)
def test_bars_are_round_and_fit(width: float, text: str) -> None:
    bar = scale_bar(width)
    assert bar is not None
    number, unit = bar.text.split()
    assert bar.share * width == pytest.approx(float(number) * {"nm": 1, "µm": 1e3, "mm": 1e6}[unit])
    assert 0.088 <= bar.share <= 0.2201
    assert bar.text == text


def test_the_command_names_a_model_that_is_found_by_its_hash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model("ab" * 32, Path("l.ome.zarr")) is None
    for name in ("my_run/model", "other/model", "loose"):
        path = Path(f"{name}.json")
        path.parent.mkdir(exist_ok=True)
        path.with_suffix(".pt").touch()
        path.write_text(json.dumps({"model_sha256": name}))
    Path("my_run/broken.json").write_text("[")
    Path("my_run/broken.pt").touch()
    assert find_model("my_run/model", Path("l.ome.zarr")) == Path("my_run")
    assert find_model("loose", Path("deep/l.ome.zarr")) == Path("loose.pt")
    monkeypatch.chdir(tmp_path / "other")
    assert find_model("my_run/model", tmp_path / "l.ome.zarr") == tmp_path / "my_run"


def browser_python() -> str | None:
    """A Python that has Qt's browser: this one, or that of SCSAM_TEST_BROWSER."""
    named = os.environ.get("SCSAM_TEST_BROWSER")
    if (
        named is None
        and importlib.util.find_spec("PyQt6")
        and importlib.util.find_spec("PyQt6.QtWebEngineCore")
    ):
        return sys.executable
    return named


def test_a_report_works_in_a_browser_without_a_network(tmp_path: Path) -> None:
    python = browser_python()
    if python is None:
        pytest.skip(
            "no browser: pip install PyQt6-WebEngine, or name a Python that has it in SCSAM_TEST_BROWSER"
        )
    image, path, _ = make_labels(tmp_path)
    report, screen = write_page(labels_page(path, image), tmp_path / "report.html"), tmp_path / "screen.png"
    script = """
        const slider = document.querySelector(".cut"), over = document.querySelector(".over");
        const before = getComputedStyle(over).clipPath;
        slider.value = 50; slider.dispatchEvent(new Event("input"));
        const box = document.querySelector(".switch");
        box.click();
        const layers = [...document.querySelectorAll(".layer")];
        [before, getComputedStyle(over).clipPath, layers.map(one => one.hidden && one.dataset.class === "1").join(),
         [...document.images].every(one => one.complete && one.naturalWidth > 0)]
    """
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(Path(__file__).with_name("browser.py")), str(report), str(screen), script],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    seen = json.loads(done.stdout.strip().splitlines()[-1])
    before, after, hidden, drawn = seen["value"]
    assert before != after
    assert "50%" in after
    assert hidden == "true,true,false"
    assert drawn is True
    assert seen["console"] == []
    assert seen["requests"] == [report.as_uri()]
    assert screen.stat().st_size > 1000


def test_measurements_are_taken_in(tmp_path: Path) -> None:
    image, path, _ = make_labels(tmp_path)
    folder = tmp_path / "measured"
    with pytest.raises(InputError, match="scsam measure"):
        labels_page(path, image, measured=folder)
    folder.mkdir()
    (folder / "measure.json").write_text('{"voxel_size_nm": [40, 5, 5]}')
    (folder / "classes.csv").write_text("class_id,class,objects,volume_nm3\n1,mitochondrion,12,123456.5\n")
    (folder / "contacts.csv").write_text("class,near_class,within_nm,contact_nm2\nmitochondrion,er,0.0,nan\n")
    (folder / "objects.csv").write_text(
        "id,class,volume_nm3\n1,mitochondrion,5\n2,mitochondrion,9\n3,mitochondrion,7\n"
    )
    page = labels_page(path, image, measured=folder)
    assert page.tables[-2].rows == [["1", "mitochondrion", "12", "123,456"]]
    assert page.tables[-1].rows == [["mitochondrion", "er", "0", "-"]]
    assert page.pictures[-1].caption == "mitochondrion: 3 objects, measured"
    assert "could not be checked" in page.warnings[-2]  # by an earlier version


def test_figures_of_other_labels_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image, path, labels = make_labels(tmp_path)
    write_stack("other.tif", labels, SIZE)
    for name in (path.name, "other.tif"):
        words = ["measure", name, f"{Path(name).stem}_figures"]
        assert CliRunner().invoke(app, words).exit_code == 0
    with pytest.raises(
        InputError, match=r"found\.ome\.zarr, met one of \S+other\.tif; make them: scsam measure"
    ):
        labels_page(path, image, measured="other_figures")
    page = labels_page(path, image, measured="found.ome_figures")
    assert "Classes, measured" in {table.title for table in page.tables}
    assert not any("checked" in warning for warning in page.warnings)
    with pytest.raises(InputError, match="expected the voxel size of the figures, 40,5,5, met 40,4,4"):
        labels_page(path, image, measured="found.ome_figures", voxel_size_nm=(40, 4, 4))
    os.utime(path / "0" / "zarr.json", (1, 1))
    with pytest.raises(InputError, match="met one from before it was changed"):
        labels_page(path, image, measured="found.ome_figures")


def test_classes_are_those_of_the_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image, _, labels = make_labels(tmp_path)
    write_stack("mask.tif", (labels == 1) * np.uint8(255), SIZE)
    write_stack("seven.tif", np.where(labels == 2, 7, labels).astype(np.uint8), SIZE)
    voxels = {}
    for name, *words in (
        ("mask", "--class", "255=mito"),
        ("seven", "--class", "1=mito", "--ignore-label", "7"),
    ):
        assert CliRunner().invoke(app, ["measure", f"{name}.tif", name, *words]).exit_code == 0
        page = labels_page(f"{name}.tif", image, measured=name)
        voxels[name] = {row[0]: row[1] for row in page.tables[0].rows}
        assert [row[0] for row in page.tables[1].rows] == [entry.name for entry in page.legend] == ["mito"]
        assert all(len(sheet.layers) == 1 for sheet in page.sheets)
    assert voxels["mask"] == {"background": "11,888", "mito": "400"}
    assert voxels["seven"] == {"background": "11,868", "mito": "400", "unknown": "20"}


def test_labels_and_image_may_be_data_sets_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    image, _, labels = make_labels(tmp_path)
    (tmp_path / "sub").mkdir()
    with h5py.File("sub/lab.h5", "w") as file:
        file["a"], file["g/b"], file["raw"] = labels, np.roll(labels, 3, 1), read_image(image).array
    measured = ["measure", "sub/lab.h5", "figures", "--dataset", "g/b", "--voxel-size-nm", "40,5,5"]
    told = CliRunner().invoke(app, measured).output
    start, *words = shlex.split(told.splitlines()[-1])
    assert (start, words[:2]) == ("scsam", ["report", "sub/lab.h5:/g/b"])
    done = CliRunner().invoke(app, [*words, "--image", "sub/lab.h5:/raw"])
    assert done.output.splitlines()[-1] == "sub/lab_g_b_report.html"
    with pytest.raises(InputError, match=r"met one of \S+lab\.h5:/g/b"):
        labels_page("sub/lab.h5:/a", image, measured="figures")


def test_the_recorded_data_set_is_that_of_an_image_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    image, path, _ = make_labels(tmp_path)
    with h5py.File("cell.h5", "w") as file:
        file["raw"], file["other"] = read_image(image).array, read_image(image).array[::-1]
    recorded = {"model_sha256": "0" * 64, "source": {"path": "cell.h5", "dataset": "/raw"}}
    monkeypatch.setattr("scsam_monai.report.labels_page.recorded_job", lambda path: recorded)
    for name, value in {"segmentation_facts": {}, "labels_warnings": [], "predict_command": "scsam"}.items():
        monkeypatch.setattr(f"scsam_monai.report.labels_page.{name}", lambda *_, value=value: value)
    typed = (None, "cell.h5", "cell.h5:/raw", "cell.h5:/other")
    shown = {name: labels_page(path, name).sheets[0].image for name in typed}
    assert shown[None] == shown["cell.h5"] == shown["cell.h5:/raw"] != shown["cell.h5:/other"]


def test_how_sure_is_of_the_classes_alone() -> None:
    drawn = np.zeros((1, 8, 8), np.uint8)
    grey, confidence = drawn.copy(), np.zeros_like(drawn)
    drawn[:, :4], drawn[:, 4:6] = 255, 1
    confidence[:, 4:6], confidence[:, 6:] = 204, 51

    def sure(labels: np.ndarray) -> float | None:
        maps = {Product.CONFIDENCE: ArrayVolume(confidence)}
        legend = LabelLegend(NAMES, class_colours(3))
        return label_sheets(ArrayVolume(grey), ArrayVolume(labels), maps, legend, (0, 1))[1]

    assert sure(drawn) == pytest.approx(0.8)
    assert sure(np.where(drawn == 1, 255, drawn).astype(np.uint8)) == pytest.approx(0.2)
    assert sure(np.full_like(drawn, 255)) is None


@pytest.mark.parametrize(
    ("image", "dataset", "output", "advice"),
    [
        ("cell.h5:/raw", None, "found.ome.zarr", ""),
        ("cell.h5", "/raw", "out/found.ome.zarr", " --image cell.h5"),
        ("cell.h5:/raw", "/raw", "found.tif", " --image cell.h5:/raw"),
        ("cell.h5", "/raw", "found.tif", " --image cell.h5 --dataset /raw"),
    ],
)
def test_predict_advises_an_image_that_is_found(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    image: str,
    dataset: str | None,
    output: str,
    advice: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("scsam_monai.cli.predicted._write_picture", lambda job, volume: None)
    source = Source(str(tmp_path / image), dataset, (1, 8, 8), "uint8", "")
    job = SimpleNamespace(products=(), source=source, output=str(tmp_path / output))
    print_result(job, ArrayVolume(np.zeros((8, 8), np.uint8)), 1.0)
    assert capsys.readouterr().err.splitlines()[-1] == f"  scsam report {output}{advice}"
