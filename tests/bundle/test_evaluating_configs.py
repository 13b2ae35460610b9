"""Configs that would undo one another are refused before anything runs."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from scsam_monai.command_line import check_overrides, input_error_in
from scsam_monai.data.dataset import DatasetDescription
from scsam_monai.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "bundle" / "configs"


def command(*names: str) -> list[str]:
    files = [str(CONFIGS / f"{name}.json") for name in names]
    return ["monai/bundle/__main__.py", "run", "evaluating", "--config_file", str(files)]


@pytest.mark.parametrize("others", list(permutations(["evaluate", "multi_gpu_train"])))
def test_evaluation_with_several_processes_is_refused(others: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match=r"leave multi_gpu_train\.json out: one process evaluates"):
        check_overrides(command("train", *others))


@pytest.mark.parametrize("other", ["evaluate", "multi_gpu_train"])
def test_either_alone_is_not(other: str) -> None:
    check_overrides(command("train", other))


def test_a_data_set_without_a_test_part_is_refused_before_weights_are_loaded(tmp_path: Path) -> None:
    parser = ConfigParser()
    parser.read_config([str(CONFIGS / f"{name}.json") for name in ("train", "evaluate")])
    parser["description"] = DatasetDescription(tmp_path / "dataset.json", {0: "background"}, [], [], [])
    parser["ckpt_path"] = "nowhere.pt"
    parser["initialize"] = parser["initialize"][1:]  # of the process, not of the data
    parser.get_parsed_content("imports")
    with pytest.raises((InputError, RuntimeError)) as caught:
        parser.get_parsed_content("initialize")
    told = 'dataset.json: expected a test part to score, met none; add "test" with an image'
    assert told in str(input_error_in(caught.value))
