from pathlib import Path

import pytest

from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError
from scsam_monai.training.preflight import check_class_names, check_scale, keep_earlier_run


def description(nm):
    item = {"image": "cell.tif", "voxel_size_nm": [30, nm, nm]}
    return DatasetDescription(Path("dataset.json"), {0: "background"}, [], [item], [])


def test_scale_is_refused_beyond_eight():
    check_scale(description(100), 16)
    with pytest.raises(InputError, match=r"cell\.tif"):
        check_scale(description(160), 16)


def test_scale_warns_beyond_two(caplog):
    check_scale(description(30), 16)
    assert not caplog.records
    check_scale(description(40), 16)
    assert "cell.tif" in caplog.text


def test_classes_of_another_order_are_refused():
    check_class_names(["background", "er"], ["background", "er"])
    check_class_names(None, ["background", "er"])
    with pytest.raises(InputError, match="er, golgi"):
        check_class_names(["background", "golgi", "er"], ["background", "er", "golgi"])


@pytest.mark.parametrize(("resume", "moved"), [(False, True), (True, False), ("auto", False)])
def test_an_earlier_run_is_never_overwritten(tmp_path, resume, moved):
    run = tmp_path / "run"
    for _ in range(2):
        run.mkdir(exist_ok=True)
        (run / "last.pt").write_text("weights")
        keep_earlier_run(run, resume)
    assert (run / "last.pt").exists() != moved
    assert [path.name for path in sorted(tmp_path.iterdir())] == (["run.1", "run.2"] if moved else ["run"])


def test_a_folder_without_a_run_stays(tmp_path):
    keep_earlier_run(tmp_path, False)
    assert tmp_path.is_dir()
    keep_earlier_run(tmp_path / "none", False)
