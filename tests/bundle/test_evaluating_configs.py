"""Configs that would undo one another are refused before anything runs."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from scsam_monai.command_line import check_overrides
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
