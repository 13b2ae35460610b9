"""Values that would not reach a config as they were typed, and those that are meant so."""

from __future__ import annotations

from pathlib import Path

import pytest
from fire.parser import DefaultParseValue
from monai.bundle import ConfigParser

from scsam_monai.command_line import check_overrides
from scsam_monai.errors import InputError

CONFIG = str(Path(__file__).resolve().parents[1] / "bundle" / "configs" / "inference.json")


def command(key: str, value: str) -> list[str]:
    return ["monai.bundle", "run", "inferring", "--config_file", CONFIG, f"--{key}", value]


@pytest.mark.parametrize("key", ["dataset_dir", "output_dir", "ckpt_path", "bundle_root"])
@pytest.mark.parametrize("path", ["20241126", "2024_11_26", "1e5", "a,b", "True", "0x10"])
def test_a_path_that_would_not_arrive_is_refused_with_a_spelling_that_does(key, path):
    with pytest.raises(
        InputError, match=rf"--{key}: expected a path, met {path}, which .* takes for"
    ) as caught:
        check_overrides(command(key, path))
    spelling = str(caught.value).rsplit(" ", 1)[-1].strip("'")
    assert DefaultParseValue(spelling) == spelling == f"./{path}"
    check_overrides(command(key, spelling))


@pytest.mark.parametrize(
    "path",
    ["cells", "./1", "/data/20241126", "'20241126'", "a b", "cell.h5:/volumes/raw", "None"],
)
def test_other_paths_pass(path):
    check_overrides(command("dataset_dir", path))


@pytest.mark.parametrize("path", ["cells#2", "./cells#2", "/data/day#1/raw", "'a#b'"])
def test_a_path_with_a_sign_of_monai_is_refused_with_a_way_round(path):
    parser = ConfigParser({"dataset_dir": path})
    assert "#" not in parser.get_parsed_content("dataset_dir")  # so that it would be another path
    with pytest.raises(
        InputError, match=r"--dataset_dir: expected a path without #, .*; .*: ln -s "
    ) as caught:
        check_overrides(command("dataset_dir", path))
    assert "#" not in str(caught.value).rsplit(" ", 1)[-1]


TRAIN = str(Path(CONFIG).with_name("train.json"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("views", value) for value in ("d4", "none", "4", "[0,1]")),
        ("zooms", "[1.0, 1.5]"),
        *(("train::dataset::balanced", value) for value in ("False", "True", "0.67")),
        *((key, value) for key in ("ema", "clip_gradients") for value in ("None", "0.5")),
        *(("cache", value) for value in ("auto", "on", "off")),
        *(("resume", value) for value in ("auto", "True", "False")),
    ],
)
def test_values_that_the_documents_show_are_taken(key, value):
    check_overrides(["monai.bundle", "run", "training", "--config_file", TRAIN, f"--{key}", value])


@pytest.mark.parametrize("key", ["ema", "clip_gradients", "train::dataset::balanced", "epochs"])
def test_words_for_numbers_are_refused(key):
    with pytest.raises(InputError, match=f"--{key}: expected a number, met 'some'"):
        check_overrides(["monai.bundle", "run", "training", "--config_file", TRAIN, f"--{key}", "some"])
