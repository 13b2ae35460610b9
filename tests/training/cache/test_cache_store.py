from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch
from torch import Tensor

from scsam_monai.training.cache.store import EmbeddingStore, serialise

MAPS = {
    "sam": torch.arange(24, dtype=torch.float16).view(6, 2, 2),
    "mae": torch.ones(3, 2, 2, dtype=torch.float16),
}


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path, "a" * 64)


def equal(left: dict[str, Tensor] | None, right: dict[str, Tensor]) -> bool:
    return (
        left is not None
        and left.keys() == right.keys()
        and all(torch.equal(left[k], right[k]) for k in right)
    )


def test_what_was_written_is_read(store: EmbeddingStore) -> None:
    key = store.key(torch.rand(1, 8, 8))
    assert store.read(key) is None
    store.write(key, MAPS)
    assert equal(store.read(key), MAPS)
    assert store.path(key).stat().st_size == len(serialise(MAPS))
    assert store.has(key, len(serialise(MAPS)))
    assert not store.has(key, len(serialise(MAPS)) + 1)


def test_the_key_follows_from_the_image_alone(store: EmbeddingStore, tmp_path: Path) -> None:
    image = torch.rand(1, 8, 8)
    other = image.clone()
    other[0, 7, 7] += 1e-6
    assert store.key(image) == store.key(image.clone()) == store.key(torch.stack([image, other])[0])
    assert store.key(image) != store.key(other)
    assert store.key(image) != store.key(image.view(1, 4, 16))
    assert store.key(image) != EmbeddingStore(tmp_path, "b" * 64).key(image)
    assert store.key(image.flip(-1)) == store.key(image.flip(-1).contiguous())


def damage_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


def damage_header(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"mae"', b'"mad"'))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_byte, damage_header, truncate, cut_header, empty])
def test_damage_is_found_and_told(
    damage: object, store: EmbeddingStore, caplog: pytest.LogCaptureFixture
) -> None:
    key = store.key(torch.rand(1, 8, 8))
    store.write(key, MAPS)
    damage(store.path(key))  # type: ignore[operator]
    with caplog.at_level(logging.WARNING):
        assert store.read(key) is None
    assert "is damaged and will be computed again" in caplog.text
    store.write(key, MAPS)
    assert equal(store.read(key), MAPS)


def test_an_entry_without_a_checksum_is_not_trusted(store: EmbeddingStore) -> None:
    from safetensors.torch import save_file

    key = store.key(torch.rand(1, 8, 8))
    store.write(key, MAPS)
    save_file(MAPS, store.path(key))
    assert store.read(key) is None


def test_a_write_that_fails_leaves_nothing(store: EmbeddingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    key = store.key(torch.rand(1, 8, 8))
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        store.write(key, MAPS)
    assert not list(store.path(key).parent.iterdir())


def test_leftovers_of_killed_processes_are_swept(store: EmbeddingStore) -> None:
    key = store.key(torch.rand(1, 8, 8))
    store.write(key, MAPS)
    left = store.path(key).parent / ".left-unfinished-00000000-1-abcd1234.safetensors"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    store.sweep()
    assert not left.exists()
    assert equal(store.read(key), MAPS)
