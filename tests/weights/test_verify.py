from __future__ import annotations

from pathlib import Path

import pytest
from registered import register

from scsam_monai.errors import InputError
from scsam_monai.weights.registry import (
    MISSING,
    OK,
    UNRECORDED,
    WEIGHTS,
    WRONG,
    Verified,
    Weights,
    WeightsFile,
    verify,
)


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SCSAM_WEIGHTS_DIR", raising=False)


def test_every_copy_is_hashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, "two", {"a.pth": b"abc", "b.pth": b"def"})
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, content in ((first, b"abc"), (second, b"abd")):  # codespell:ignore
        folder.mkdir()
        (folder / "a.pth").write_bytes(content)
    assert verify("two", [first, second]) == [
        Verified("a.pth", first / "a.pth", OK),
        Verified("a.pth", second / "a.pth", WRONG),
        Verified("b.pth", None, MISSING),
    ]
    (second / "a.pth").write_bytes(b"ab")
    assert verify("two", second)[0].state == WRONG


def test_without_a_recorded_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = WeightsFile("a.pth", None, None)
    monkeypatch.setitem(WEIGHTS, "one", Weights("one", "sam", "vit_t", "", "", (file,)))
    (tmp_path / "a.pth").write_bytes(b"abc")
    assert [line.state for line in verify("one", tmp_path)] == [UNRECORDED]


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="one of the names"):
        verify("nothing")
