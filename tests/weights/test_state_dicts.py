from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.networks.frozen_encoders import check_layout
from scsam_monai.weights.state_dicts import load_checked, read_state_dict


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.marker,)


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"weight": torch.rand(2, 3), "bias": torch.rand(2)}


def assert_same(met: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert met.keys() == expected.keys()
    assert all(torch.equal(met[key], expected[key]) for key in expected)


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
def test_reads_pytorch_files(state: dict[str, Tensor], wrap: str | None, tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    torch.save(state if wrap is None else {wrap: state, "epoch": 3}, path)
    assert_same(read_state_dict(path), state)


def test_reads_safetensors(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    assert_same(read_state_dict(str(path)), state)


@pytest.mark.parametrize("as_torch_file", [True, False])
def test_runs_no_code(state: dict[str, Tensor], as_torch_file: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "evil.pt", tmp_path / "was_run"
    content = {**state, "trap": Trap(marker)}
    if as_torch_file:
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(InputError, match=r"evil\.pt: expected .* plain tensors") as caught:
        read_state_dict(path)
    assert not marker.exists()
    assert "\n" not in str(caught.value)
    with path.open("rb") as file:  # the trap does spring where code is trusted
        torch.load(file, weights_only=False) if as_torch_file else pickle.load(file)
    assert marker.exists()


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no_such\.pt: .*met no such file; check the path"):
        read_state_dict(tmp_path / "no_such.pt")


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
@pytest.mark.parametrize("kept", [0.5, 0.0])
def test_truncated_file(state: dict[str, Tensor], suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(InputError, match=r"cut\.\w+: expected a safetensors file or") as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [{"weight": 3}, {"optimizer": {"state": {}}}, torch.arange(3.0), [1, 2]], ids=str
)
def test_other_contents(content: object, tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save(content, path)
    with pytest.raises(InputError, match=r"other\.pt"):
        read_state_dict(path)


def test_layout_that_fits_passes(state: dict[str, Tensor]) -> None:
    check_layout("file", state, nn.Linear(3, 2).state_dict())


def test_layout_names_what_differs_in_one_line() -> None:
    expected = {f"layer.{i}": torch.zeros(2, 3) for i in range(6)}
    met = {"layer.0": torch.zeros(3, 2), "layer.1": torch.zeros(2, 3), "new": torch.zeros(1)}
    with pytest.raises(InputError) as caught:
        check_layout("weights.pt", met, expected)
    assert str(caught.value) == (
        "weights.pt: expected 6 weights of this architecture, "
        "met 4 missing (layer.2, layer.3, layer.4, ...), 1 unknown (new), "
        "1 of another shape (layer.0 (3, 2) not (2, 3)); "
        "use a checkpoint of the same architecture and classes"
    )


def test_load_checked(state: dict[str, Tensor]) -> None:
    layer = nn.Linear(3, 2)
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    with pytest.raises(InputError, match=r"1 missing \(bias\)"):
        load_checked(layer, "file", {"weight": state["weight"]})
    assert_same(layer.state_dict(), before)
    load_checked(layer, "file", state)
    assert_same(layer.state_dict(), state)


def test_error_survives_pickling() -> None:
    error = InputError(Path("cell.tif"), expected="grey", met="two\nlines", remedy="save again")
    assert str(error) == "cell.tif: expected grey, met two lines; save again"
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin, InputError)
    assert (str(twin), vars(twin)) == (str(error), vars(error))
