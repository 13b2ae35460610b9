import numpy as np
import pytest

from scsam_monai.data.listing import list_images
from scsam_monai.errors import InputError


def test_images_come_in_the_order_of_their_names(tmp_path):
    for name in ("b.npy", "a.npy"):
        np.save(tmp_path / name, np.eye(3))
    (tmp_path / "notes.txt").write_text("no image")
    assert list_images(tmp_path) == [{"image": str(tmp_path / name)} for name in ("a.npy", "b.npy")]
    assert list_images(tmp_path / "b.npy") == [{"image": str(tmp_path / "b.npy")}]


def test_a_broken_image_is_named_before_any_other_is_segmented(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    (tmp_path / "b.tif").write_text("no image")
    with pytest.raises(InputError, match=r"b\.tif: expected a readable image"):
        list_images(tmp_path)


def test_no_image_is_one_line(tmp_path):
    with pytest.raises(InputError, match="met no such file"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="met 0 other files"):
        list_images(tmp_path)
