"""The benchmarks of speed, on inputs of a size for tests."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    torch.set_num_threads(threads)


def cells(row):
    return [cell.strip(" *") for cell in row.strip("|").split("|")]


def test_encoders_are_compared(load, monkeypatch, capsys):
    benchmark = load("encoder_speed")
    monkeypatch.setattr(benchmark, "SMALL", ("vit_t", 320))
    benchmark.main(["--sizes", "--rounds", "1"])
    _, _, header, _, row = capsys.readouterr().out.splitlines()[:5]
    met = dict(zip(cells(header), cells(row), strict=True))
    assert (met["encoder"], met["input"]) == ("vit_t", "320")
    assert float(met["relative error"]) < 1e-5
    assert float(met["ratio"]) == pytest.approx(float(met["stock s"]) / float(met["ours s"]), rel=0.1)
    assert min(float(met["stock MiB"]), float(met["ours MiB"])) > 1


@pytest.mark.parametrize("size", [224, 256, 512])
def test_operations_are_those_that_torch_counts(load, size):
    """For sizes without a ragged window, where the stock encoder does nothing more than the model asks for."""
    from torch.utils.flop_counter import FlopCounterMode

    benchmark = load("encoder_speed")
    name = "vit_b" if size == 224 else "vit_t"
    stock, _ = benchmark.pair(name, size)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        stock.to("meta")(torch.empty(1, 3, size, size, device="meta"))
    # Torch also counts the relative positions' products.
    assert benchmark.model_flop(name, size) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_gpu_table_has_a_row_for_each_batch(load):
    benchmark = load("encoder_speed")
    with torch.no_grad():
        rows = list(benchmark.gpu_rows([("vit_t", 64)], 1, "cpu", side=64))
    assert [row[:3] for row in rows] == [["vit_t", "64", "1"], ["vit_t", "64", "8"]]
    assert all(len(row) == len(benchmark.GPU_HEADER) for row in rows)


def test_networks_stand_beside_the_peer(load, monkeypatch, capsys):
    benchmark = load("network_speed")
    cases = [benchmark.Case("DynUNet", 64, 2), benchmark.Case("small", 64, 2)]
    monkeypatch.setattr(benchmark, "CASES", cases)
    memory = lambda _script, _flag, row, *_rest: benchmark.memory(cases[int(row)], 3)  # noqa: E731
    monkeypatch.setattr(benchmark, "in_fresh_process", memory)
    benchmark.main(["--rounds", "1", "--classes", "3"])
    rows = [cells(line) for line in capsys.readouterr().out.splitlines()[4:]]
    assert [row[0] for row in rows] == ["DynUNet", "small: vit_t + mae_tiny"]
    seconds, speed, share = (float(cell) for cell in rows[1][4:7])
    assert speed == pytest.approx(2 * 64**2 / seconds / 1e6, rel=0.1)
    assert share == pytest.approx(speed / float(rows[0][5]), rel=0.1)


def test_memory_grows_by_what_a_call_holds(load, tmp_path):
    # In a fresh process, as it is meant for: this one may hold as much that is free.
    measuring = load("measuring")
    script = tmp_path / "grow.py"
    script.write_text(
        f"import sys, torch\nsys.path.insert(0, {str(BENCHMARKS)!r})\n"
        "from measuring import peak_growth_mib\nprint(peak_growth_mib(lambda: torch.ones(2**24)))\n"
    )
    assert measuring.in_fresh_process(str(script)) == pytest.approx(64, abs=4)


def test_medians_leave_the_first_turn_out(load):
    measuring = load("measuring")
    turns = []
    medians = measuring.interleaved_medians(
        {"a": lambda: turns.append("a"), "b": lambda: turns.append("b")}, 2
    )
    assert turns == ["a", "b"] * 3
    assert medians.keys() == {"a", "b"}
