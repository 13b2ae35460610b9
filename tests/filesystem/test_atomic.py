import hashlib
import json
import math

import pytest

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import check_writable, sha256_of, sha256_over, write_json


def test_makes_the_folder_and_leaves_it_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: expected a folder that can be written to"):
        check_writable(tmp_path / "taken")


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = write_json(tmp_path / "made" / "scores.json", {"iou": 0.5})
    assert json.loads(path.read_text()) == {"iou": 0.5}
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"iou": math.nan})
    assert json.loads(path.read_text()) == {"iou": 0.5}
    assert list(path.parent.iterdir()) == [path]


def test_hashes_are_of_the_content(tmp_path):
    path, content = tmp_path / "a", b"content"
    path.write_bytes(content)
    known = hashlib.sha256(content)
    assert sha256_of(path) == sha256_of(str(path)) == sha256_of(content) == known.hexdigest()
    together = hashlib.sha256(b"name" + known.digest()).hexdigest()
    assert sha256_over(["name", path]) == together != sha256_over([path, "name"])
