from __future__ import annotations

from pathlib import Path

import pytest
from registered import register

from scsam_monai.errors import InputError
from scsam_monai.weights.registry import cache_dir, check_content, folders, locate, registered_name


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory, a cache and a user of the test's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCSAM_WEIGHTS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def put(folder: Path, name: str, content: bytes = b"abc") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def test_a_path_that_exists_is_taken_as_it_is(tmp_path: Path) -> None:
    path = put(tmp_path, "mine.pt")
    assert locate(path) == locate(str(path)) == [path]
    assert registered_name(str(path)) is None


def test_a_file_goes_before_a_name_and_a_folder_does_not(tmp_path: Path, monkeypatch) -> None:
    register(monkeypatch, "tiny", {"tiny.pth": b"abc"})
    (tmp_path / "tiny").mkdir()
    there = put(cache_dir(), "tiny.pth")
    assert locate("tiny") == [there]
    assert registered_name("tiny") == registered_name(Path("tiny")) == "tiny"
    (tmp_path / "tiny").rmdir()
    put(tmp_path, "tiny")
    assert locate("tiny") == [Path("tiny")]
    assert registered_name("tiny") is None


def test_folders_are_searched_in_order(tmp_path: Path, monkeypatch) -> None:
    register(monkeypatch, "tiny", {"tiny.pth": b"abc"})
    monkeypatch.setenv("SCSAM_WEIGHTS_DIR", str(tmp_path / "flat"))
    given = [tmp_path / "first", tmp_path / "second"]
    bundle = Path(__file__).resolve().parents[2] / "bundle" / "models"
    order = [*given, tmp_path / "flat", bundle, cache_dir()]
    assert folders(given) == order
    assert folders(str(given[0]))[0] == given[0]
    for folder in (cache_dir(), tmp_path / "flat", given[1], given[0]):
        path = put(folder, "tiny.pth")
        assert locate("tiny", given) == [path]


def test_all_files_come_from_one_folder(tmp_path: Path, monkeypatch) -> None:
    register(monkeypatch, "two", {"a.safetensors": b"a", "b.safetensors": b"b"})
    put(tmp_path / "half", "a.safetensors", b"a")
    with pytest.raises(InputError, match=r"two: expected a\.safetensors and b\.safetensors in one of .*half"):
        locate("two", tmp_path / "half")
    whole = [put(cache_dir(), name, name[:1].encode()) for name in ("a.safetensors", "b.safetensors")]
    assert locate("two", tmp_path / "half") == whole


def test_a_missing_file_says_what_to_put_where(tmp_path: Path, monkeypatch) -> None:
    register(monkeypatch, "tiny", {"tiny.pth": b"abc"}, url="https://example.org/")
    with pytest.raises(InputError) as caught:
        locate("tiny")
    message = str(caught.value)
    assert "scsam weights fetch tiny" in message
    assert f"put tiny.pth from https://example.org/tiny.pth into {cache_dir()}" in message
    assert "SCSAM_WEIGHTS_DIR" in message
    register(monkeypatch, "tiny", {"tiny.pth": b"abc"})
    with pytest.raises(InputError, match=r"put tiny\.pth from the project's bundle/models into"):
        locate("tiny")


def test_what_is_neither_name_nor_file(tmp_path: Path) -> None:
    for path in ("nowhere.pt", "some/where", tmp_path / "x"):
        with pytest.raises(InputError, match=r"expected a weights file, met no such file"):
            locate(path)
    with pytest.raises(InputError, match=r"one of the names sam_vit_b, .*; did you mean sam_vit_h\?"):
        locate("sam_vith")


def test_a_file_of_another_size_or_content_is_refused(tmp_path: Path, monkeypatch) -> None:
    (file,) = register(monkeypatch, "tiny", {"tiny.pth": b"abc"}, url="https://example.org/").files
    path = put(cache_dir(), "tiny.pth", b"ab")
    with pytest.raises(InputError, match=r"tiny\.pth: expected 3 bytes, met 2; remove it and fetch it again"):
        locate("tiny")
    path.write_bytes(b"xyz")
    assert locate("tiny") == [path]  # reading it all is left to who loads it
    with pytest.raises(InputError, match=r"tiny\.pth: expected sha256 ba7816"):
        check_content(file, path)
    path.write_bytes(b"abc")
    check_content(file, path)


def test_the_cache_is_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert cache_dir() == tmp_path / ".cache" / "scsam-monai" / "weights"
