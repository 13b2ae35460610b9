"""Paths that python -m monai.bundle would take for numbers or cut at a #."""

from __future__ import annotations

from pathlib import Path

import pytest
from fire.parser import DefaultParseValue

from scsam_monai.command_line import check_overrides
from scsam_monai.errors import InputError

CONFIG = str(Path(__file__).resolve().parents[1] / "bundle" / "configs" / "inference.json")


def command(key: str, value: str) -> list[str]:
    return ["monai.bundle", "run", "inferring", "--config_file", CONFIG, f"--{key}", value]


@pytest.mark.parametrize("key", ["dataset_dir", "output_dir", "ckpt_path", "bundle_root"])
@pytest.mark.parametrize("path", ["20241126", "2024_11_26", "1e5", "cells#2", "a,b", "True", "0x10"])
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
    ["cells", "./1", "/data/20241126", "/data/a#b", "'20241126'", "a b", "cell.h5:/volumes/raw", "None"],
)
def test_other_paths_pass(path):
    check_overrides(command("dataset_dir", path))
