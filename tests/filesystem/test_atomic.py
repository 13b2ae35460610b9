import pytest

from scsam_monai.errors import InputError
from scsam_monai.filesystem.atomic import check_writable


def test_makes_the_folder_and_leaves_it_empty(tmp_path):
    check_writable(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match="taken: expected a folder that can be written to"):
        check_writable(tmp_path / "taken")
