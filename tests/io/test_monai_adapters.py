from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, NibabelReader
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, SaveImaged
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_labels, write_stack
from scsam_monai.io.monai_adapters import EMReader, SaveLabelsLikeInputd

VOLUME = np.random.default_rng(0).integers(0, 200, (3, 8, 10)).astype(np.uint8)
AFFINE = np.array([[-4e-6, 0, 0, 1.0], [0, 5e-6, 0, 2.0], [0, 0, 5e-5, 3.0], [0, 0, 0, 1]])
LOAD = Compose([LoadImaged(keys=["image"], reader=EMReader), EnsureChannelFirstd("image")])


@pytest.fixture
def files(tmp_path):
    write_stack(tmp_path / "stack.tif", VOLUME, (50, 5, 4))
    Image.fromarray(VOLUME[0]).save(tmp_path / "image.png")
    nifti = nib.Nifti1Image(VOLUME.T, AFFINE)
    nifti.header.set_xyzt_units("mm")
    nifti.to_filename(tmp_path / "volume.nii.gz")
    return tmp_path


@pytest.mark.parametrize("name", ["stack.tif", "volume.nii.gz"])
def test_volumes_are_x_y_z(files, name):
    image = LOAD({"image": files / name})["image"]
    assert image.shape == (1, 10, 8, 3)
    for k in range(3):
        np.testing.assert_array_equal(image[0, ..., k].numpy().T, VOLUME[k])
    assert image.meta["voxel_size_nm"] == [50.0, 5.0, 4.0]
    assert list(image.meta["spatial_shape"]) == [10, 8, 3]
    assert image.meta["filename_or_obj"] == str(files / name)
    assert image.meta["space"] == "RAS"


def test_an_image_is_x_y_and_its_voxel_size_is_not_made_up(files):
    image = LOAD({"image": files / "image.png"})["image"]
    np.testing.assert_array_equal(image[0].numpy().T, VOLUME[0])
    assert "voxel_size_nm" not in image.meta
    np.testing.assert_array_equal(image.affine, np.eye(4))


def test_the_affine_is_in_nm_or_that_of_the_nifti_file(files):
    stack = LOAD({"image": files / "stack.tif"})["image"]
    np.testing.assert_allclose(stack.affine, np.diag([4, 5, 50, 1]))
    ours = LOAD({"image": files / "volume.nii.gz"})["image"]
    theirs = LoadImaged(keys=["image"], reader=NibabelReader)({"image": files / "volume.nii.gz"})["image"]
    np.testing.assert_array_equal(ours.affine, theirs.affine)
    np.testing.assert_array_equal(ours.meta["original_affine"], theirs.meta["original_affine"])
    np.testing.assert_array_equal(ours[0], theirs)


def test_suffixes(files):
    reader = EMReader()
    assert reader.verify_suffix(["a.tif", "b.nii.gz", "C.PNG"])
    assert reader.verify_suffix(["cremi.h5:/volumes/raw", "b.mrc", str(files)])
    assert not reader.verify_suffix("a.bmp")
    assert not reader.verify_suffix(["a.tif", "b.dm3"])


def test_a_refused_file_is_not_handed_to_a_reader_that_knows_less(files):
    Image.fromarray(VOLUME.transpose(1, 2, 0)).save(files / "colour.png")  # PILReader would take it
    with pytest.raises(RuntimeError) as caught:
        LOAD({"image": files / "colour.png"})
    assert isinstance(caught.value.__cause__, InputError)
    with pytest.raises(RuntimeError) as caught:
        LOAD({"image": [files / "stack.tif", files / "stack.tif"]})
    assert "one file per image" in str(caught.value.__cause__)


def test_labels_may_be_constant(files):
    write_stack(files / "empty.tif", np.zeros_like(VOLUME), (50, 5, 4))
    loaded = LoadImaged(keys=["label"], reader=EMReader(labels=True))({"label": files / "empty.tif"})
    assert loaded["label"].shape == (10, 8, 3)


def test_meta_data_pass_through_a_loader(files):
    loader = DataLoader(Dataset([{"image": files / "stack.tif"}], LOAD), batch_size=1)
    assert next(iter(loader))["image"].shape == (1, 1, 10, 8, 3)


@pytest.mark.parametrize(
    ("name", "shape"), [("stack.tif", (3, 8, 10)), ("image.png", (8, 10)), ("volume.nii.gz", (3, 8, 10))]
)
def test_predictions_return_in_the_format_and_layout_of_their_input(files, name, shape):
    image = LOAD({"image": files / name})["image"]
    prediction = (image % 5).to(torch.uint8)
    save = SaveLabelsLikeInputd("pred", output_dir=files / "out", output_postfix="_seg")
    assert isinstance(save, SaveImaged)
    save({"pred": prediction})
    stem, _, suffix = name.partition(".")
    written = files / "out" / f"{stem}_seg.{suffix}"
    np.testing.assert_array_equal(
        read_labels(written).array, (VOLUME % 5)[0] if len(shape) == 2 else VOLUME % 5
    )
    assert read_header(written).shape == shape
    assert read_header(written).voxel_size_nm == read_header(files / name).voxel_size_nm


def test_outputs_never_replace_inputs_or_each_other(files):
    image = LOAD({"image": files / "stack.tif"})["image"]
    with pytest.raises(InputError, match="output of its own"):
        SaveLabelsLikeInputd("pred", output_dir=files, output_postfix="")({"pred": image})
    (files / "other").mkdir()
    (files / "other" / "stack.tif").write_bytes((files / "stack.tif").read_bytes())
    save = SaveLabelsLikeInputd("pred", output_dir=files / "out")
    save({"pred": image})
    save({"pred": image})  # a second run on the same input is all right
    with pytest.raises(InputError, match="output of its own"):
        save({"pred": LOAD({"image": files / "other" / "stack.tif"})["image"]})


def test_predictions_that_are_no_labels_are_refused(files):
    image = LOAD({"image": files / "stack.tif"})["image"]
    save = SaveLabelsLikeInputd("pred", output_dir=files / "out")
    with pytest.raises(InputError, match="reduce the classes"):
        save({"pred": torch.cat([image, image])})
    with pytest.raises(InputError, match="file name"):
        save({"pred": torch.zeros(1, 10, 8, 3)})
    with pytest.raises(InputError, match="labels of shape"):
        save({"pred": image[..., :2]})


def test_axes_that_are_declared_come_back_in_the_labels(files):
    np.save(files / "xyz.npy", VOLUME.T)
    load = Compose([LoadImaged("image", reader=EMReader, axes="xyz"), EnsureChannelFirstd("image")])
    image = load({"image": files / "xyz.npy"})["image"]
    np.testing.assert_array_equal(image[0].numpy().T, VOLUME)
    save = SaveLabelsLikeInputd("image", files / "labels", axes="xyz")
    save({"image": image % 5})
    np.testing.assert_array_equal(np.load(files / "labels" / "xyz_labels.npy"), VOLUME.T % 5)


def test_formats_without_writers_are_loaded(files):
    h5py = pytest.importorskip("h5py")
    with h5py.File(files / "cremi.h5", "w") as file:
        file["volumes/raw"] = VOLUME
        file["volumes/labels"] = VOLUME % 3
    image = LOAD({"image": f"{files / 'cremi.h5'}:/volumes/raw"})["image"]
    np.testing.assert_array_equal(image[0].numpy().T, VOLUME)
