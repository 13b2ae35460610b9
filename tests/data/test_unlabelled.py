from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from scsam_monai.data.unlabelled import Inputs, list_images, list_inputs
from scsam_monai.errors import InputError
from scsam_monai.io import open_volume


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


def test_a_link_to_an_image_that_is_not_there_is_named(tmp_path):
    np.save(tmp_path / "a.npy", np.eye(3))
    (tmp_path / ".#a.npy").symlink_to("user@host.1234")  # how Emacs locks a file
    assert len(list_images(tmp_path)) == 1
    (tmp_path / "b.npy").symlink_to("c.npy")
    with pytest.raises(InputError, match=r"b\.npy: expected a file, met a link to c\.npy, where nothing is"):
        list_images(tmp_path)


def test_no_image_is_one_line(tmp_path):
    with pytest.raises(InputError, match="met no such file"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="met 0 other files"):
        list_images(tmp_path)


def test_what_is_too_large_or_of_a_format_for_it_is_streamed(tmp_path):
    np.save(tmp_path / "large.npy", np.zeros((50, 100, 100), np.uint8))
    np.save(tmp_path / "small.npy", np.eye(3))
    (tmp_path / "cell.zarr").mkdir()
    (tmp_path / "cell.zarr" / "zarr.json").write_text("{}")
    (tmp_path / "tilt.mrc").write_bytes(b"")
    found = list_inputs(tmp_path, stream_above_gb=1e-4)
    assert found.images == [{"image": str(tmp_path / "small.npy")}]
    assert found.volumes == [str(tmp_path / name) for name in ("cell.zarr", "large.npy", "tilt.mrc")]
    assert list_inputs(tmp_path / "cell.zarr") == Inputs([], [str(tmp_path / "cell.zarr")])
    assert list_inputs(tmp_path / "large.npy").volumes == []


def test_a_folder_of_volumes_alone_needs_no_images(tmp_path):
    (tmp_path / "cell.h5").write_bytes(b"")
    assert list_inputs(tmp_path) == Inputs([], [str(tmp_path / "cell.h5")])
    assert list_inputs(f"{tmp_path}/cell.h5:/raw").volumes == [f"{tmp_path}/cell.h5:/raw"]


def test_no_input_is_one_line(tmp_path):
    with pytest.raises(InputError, match="met 0 other files"):
        list_inputs(tmp_path)


def test_outputs_of_an_earlier_run_are_no_inputs(tmp_path, caplog):
    """The folder of the images may be that of the labels, twice."""
    names = ("a0.tif", "a0_labels.tif", "b_labels.tif", "a0_prediction.png")
    for name in names:
        (tifffile.imwrite if name.endswith("tif") else imageio_write)(
            tmp_path / name, np.eye(8, dtype=np.uint8)
        )
    zarr.save_array(tmp_path / "c.ome.zarr", np.ones((2, 8, 8), np.uint8))
    zarr.save_array(tmp_path / "c_labels.ome.zarr", np.ones((2, 8, 8), np.uint8))
    found = list_inputs(tmp_path)
    assert [Path(item["image"]).name for item in found.images] == ["a0.tif", "b_labels.tif"]
    assert [Path(volume).name for volume in found.volumes] == ["c.ome.zarr"]
    assert "outputs of others beside them: a0_labels.tif, a0_prediction.png, c_labels.ome.zarr" in caplog.text
    assert len(list_inputs(tmp_path, output_postfix="_seg").images) == 3


def test_a_folder_of_slices_does_not_take_its_labels_for_sections(tmp_path, caplog):
    for name in ("a0.tif", "a1.tif", "a0_labels.tif", "a1_labels.tif"):
        tifffile.imwrite(tmp_path / name, np.eye(8, dtype=np.uint8))
    imageio_write(tmp_path / "a0_prediction.png", np.eye(8, dtype=np.uint8))
    with open_volume(tmp_path) as volume:
        assert volume.shape == (2, 8, 8)
    assert "a0_labels.tif" in caplog.text


def imageio_write(path, array):
    Image.fromarray(array).save(path)
