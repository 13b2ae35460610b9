from __future__ import annotations

from pathlib import Path

import pytest
import torch
from registered import register
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.weights import registry, state_dicts
from scsam_monai.weights.registry import Weights
from scsam_monai.weights.state_dicts import converted, read_weights


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def state() -> dict[str, Tensor]:
    return {"weight": torch.rand(3, 4).T, "bias": torch.rand(2)}


@pytest.fixture
def pth(state: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "models" / "tiny.pth"
    path.parent.mkdir()
    torch.save(state, path)
    return path


@pytest.fixture
def weights(pth: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    return register(monkeypatch, "tiny", {"tiny.pth": pth.read_bytes()})


def assert_same(met: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert met.keys() == expected.keys()
    assert all(torch.equal(met[key], expected[key]) for key in expected)


def test_first_use_leaves_a_twin_beside_the_file(
    weights: Weights, pth: Path, state: dict[str, Tensor]
) -> None:
    assert_same(read_weights("tiny", pth.parent), state)
    twin = pth.with_suffix(".safetensors")
    assert sorted(pth.parent.iterdir()) == [pth, twin]
    assert_same(load_file(twin), state)
    with safe_open(twin, framework="pt") as content:
        assert content.metadata()["source_sha256"] == weights.files[0].sha256


def test_later_uses_neither_hash_nor_unpickle(weights: Weights, pth: Path, monkeypatch) -> None:
    read_weights("tiny", pth.parent)

    def must_not(*_: object, **__: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr(registry, "sha256_of", must_not)
    monkeypatch.setattr(torch, "load", must_not)
    assert read_weights("tiny", pth.parent).keys() == {"weight", "bias"}


def test_the_cache_takes_the_twin_of_a_read_only_folder(weights: Weights, pth: Path, monkeypatch) -> None:
    genuine = state_dicts.atomic_path

    def refuse(path: Path):
        if path.parent == pth.parent:
            raise PermissionError(13, "Permission denied", str(path))
        return genuine(path)

    monkeypatch.setattr(state_dicts, "atomic_path", refuse)
    assert converted(weights.files[0], pth) == registry.cache_dir() / "tiny.safetensors"
    assert list(pth.parent.iterdir()) == [pth]
    assert converted(weights.files[0], pth) == registry.cache_dir() / "tiny.safetensors"


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), SafetensorError("I/O error")])
def test_without_a_place_for_the_twin_the_file_itself_is_read(
    error: Exception, weights: Weights, pth: Path, state: dict[str, Tensor], monkeypatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(state_dicts, "save_file", fail)
    assert converted(weights.files[0], pth) == pth
    assert_same(read_weights("tiny", pth.parent), state)
    assert list(pth.parent.iterdir()) == [pth]


@pytest.mark.parametrize("spoil", ["other source", "no source", "garbage"])
def test_a_twin_of_something_else_is_replaced(
    spoil: str, weights: Weights, pth: Path, state: dict[str, Tensor]
) -> None:
    twin = pth.with_suffix(".safetensors")
    if spoil == "garbage":
        twin.write_bytes(b"not safetensors")
    else:
        metadata = {"source_sha256": "0" * 64} if spoil == "other source" else None
        save_file({"weight": torch.zeros(2)}, twin, metadata)
    assert_same(read_weights("tiny", pth.parent), state)
    assert_same(load_file(twin), state)


def test_a_wrong_file_is_refused_before_it_is_read(weights: Weights, pth: Path) -> None:
    content = bytearray(pth.read_bytes())
    content[len(content) // 2] ^= 1
    pth.write_bytes(content)
    with pytest.raises(InputError, match=r"tiny\.pth: expected sha256"):
        read_weights("tiny", pth.parent)
    assert list(pth.parent.iterdir()) == [pth]


def test_shipped_safetensors_are_checked_and_left_alone(tmp_path: Path, monkeypatch) -> None:
    shares = {"a.safetensors": {"x": torch.rand(2)}, "b.safetensors": {"y": torch.rand(3)}}
    for name, share in shares.items():
        save_file(share, tmp_path / name)
    contents = {name: (tmp_path / name).read_bytes() for name in shares}
    register(monkeypatch, "two", contents)
    merged = shares["a.safetensors"] | shares["b.safetensors"]
    assert_same(read_weights("two", tmp_path), merged)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(shares)
    (tmp_path / "b.safetensors").write_bytes(contents["b.safetensors"][:-1] + b"?")
    with pytest.raises(
        InputError, match=r"b\.safetensors: expected sha256 .*; restore it from the repository"
    ):
        read_weights("two", tmp_path)


def test_shares_must_not_overlap(tmp_path: Path, monkeypatch) -> None:
    for name in ("a.safetensors", "b.safetensors"):
        save_file({"x": torch.rand(2)}, tmp_path / name)
    names = ("a.safetensors", "b.safetensors")
    register(monkeypatch, "two", {name: (tmp_path / name).read_bytes() for name in names})
    with pytest.raises(InputError, match="met x twice"):
        read_weights("two", tmp_path)
