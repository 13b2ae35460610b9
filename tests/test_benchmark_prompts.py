"""The prompt benchmark, on volumes of a size for tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from scsam_monai.networks.promptable_sam import PromptableSAM

PATH = Path(__file__).resolve().parents[1] / "benchmarks" / "prompts.py"


@pytest.fixture
def prompts(monkeypatch):
    spec = importlib.util.spec_from_file_location("prompts_benchmark", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(__import__("sys").modules, spec.name, module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "KINDS", (((2, 96, 96), (16.0, 16.0, 16.0)),))
    return module


def test_prints_tables_of_all_sources(prompts, tmp_path, capsys):
    torch.manual_seed(0)
    save_file(PromptableSAM("vit_t").state_dict(), tmp_path / "sam.safetensors")
    prompts.main([str(tmp_path / "sam.safetensors"), "--objects", "3", "--zoom", "3", "3"])
    distribution, organelles, sizes = capsys.readouterr().out.strip().split("\n\n")
    assert len(distribution.splitlines()) == 2 + 2 * len(prompts.SCORES)
    assert distribution.splitlines()[2].startswith("| generated | 3 | point |")
    assert {row.split(" | ")[0].strip("| ") for row in organelles.splitlines()[2:]} <= set(prompts.CLASSES)
    assert sum(int(row.split(" | ")[1]) for row in sizes.splitlines()[2:]) == 6


def test_the_organelle_is_that_of_the_labels(prompts):
    source = prompts.generated("cells", ["fib-sem"])
    drawn = prompts.generate_volume((2, 96, 96), (16.0, 16.0, 16.0), prompts.FIRST_SEED, "fib-sem")
    kinds = source.organelles[0]
    assert np.array_equal(kinds[drawn.instances], drawn.labels)
    assert np.array_equal(source.volumes[0].instances, drawn.instances)
