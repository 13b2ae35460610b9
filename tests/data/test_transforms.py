import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged

from scsam_monai.data.transforms import (
    AnnotatedMaskd,
    CropToRegiond,
    DropSingleSectiond,
    KeepKnownSectionsd,
    ScaleByPercentilesd,
    SetVoxelSized,
)
from scsam_monai.errors import InputError
from scsam_monai.io import intensity_range, normalise, write_stack
from scsam_monai.io.monai_adapters import EMReader


@pytest.fixture
def stack(tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (4, 6, 5), dtype=np.uint8)
    write_stack(tmp_path / "a.tif", array, (30, 8, 8))
    return array, {"image": str(tmp_path / "a.tif")}


LOAD = [LoadImaged("image", reader=EMReader()), EnsureChannelFirstd("image")]


def test_region_bounds_are_z_y_x_though_tensors_are_x_y_z(stack):
    array, item = stack
    region = [[1, 3], [0, 4], [2, 5]]
    out = Compose([*LOAD, CropToRegiond("image")])({**item, "region": region})
    np.testing.assert_array_equal(np.asarray(out["image"][0]).T, array[1:3, 0:4, 2:5])
    assert "region" not in out


def test_without_region_everything_stays(stack):
    _, item = stack
    for extra in ({}, {"region": None}):
        out = Compose([*LOAD, CropToRegiond("image")])({**item, **extra})
        assert out["image"].shape == (1, 5, 6, 4)


def test_one_section_becomes_an_image(stack):
    _, item = stack
    out = Compose([*LOAD, CropToRegiond("image"), DropSingleSectiond("image")])(
        {**item, "region": [[1, 2], [0, 6], [0, 5]]}
    )
    assert out["image"].shape == (1, 5, 6)
    whole = Compose([*LOAD, DropSingleSectiond("image")])(item)
    assert whole["image"].shape == (1, 5, 6, 4)


def test_grey_values_are_those_of_training(stack):
    array, item = stack
    out = Compose([*LOAD, ScaleByPercentilesd("image")])(item)
    np.testing.assert_array_equal(np.asarray(out["image"][0]).T, normalise(array, *intensity_range(array)))
    assert isinstance(out["image"], MetaTensor)
    assert out["image"].meta["filename_or_obj"] == item["image"]


def test_voxel_size_of_the_item_wins_over_argument_and_file(stack):
    _, item = stack
    for extra, argument, expected in (
        ({"voxel_size_nm": [1, 2, 3]}, [4, 5, 6], [1, 2, 3]),
        ({}, [4, 5, 6], [4, 5, 6]),
        ({}, None, [30, 8, 8]),
    ):
        out = Compose([*LOAD, SetVoxelSized("image", argument)])({**item, **extra})
        assert out["image"].meta["voxel_size_nm"] == pytest.approx(expected)


@pytest.mark.parametrize("text", ["50,4.6,4.6", "[50, 4.6, 4.6]", " (50,4.6,4.6) "])
def test_voxel_size_may_be_text(stack, text):
    _, item = stack
    out = Compose([*LOAD, SetVoxelSized("image")])({**item, "voxel_size_nm": text})
    assert out["image"].meta["voxel_size_nm"] == [50, 4.6, 4.6]


def test_an_empty_text_says_nothing_and_another_is_refused(stack):
    _, item = stack
    out = Compose([*LOAD, SetVoxelSized("image")])({**item, "voxel_size_nm": ""})
    assert out["image"].meta["voxel_size_nm"] == pytest.approx([30, 8, 8])
    with pytest.raises(InputError, match="'wide'"):
        SetVoxelSized("image")({**item, "voxel_size_nm": "50,wide,4"})


def test_sections_that_nobody_labelled_are_left_out():
    image, label = torch.rand(1, 6, 5, 4), torch.full((1, 6, 5, 4), 255, dtype=torch.uint8)
    label[0, 2, 3, 1], label[0, 0, 0, 3] = 0, 2
    keep = KeepKnownSectionsd(["image", "label"])
    out = keep({"image": image, "label": label})
    assert torch.equal(out["image"], image[..., [1, 3]])
    assert torch.equal(out["label"], label[..., [1, 3]])
    plane = {"image": image[..., 0], "label": label[..., 0]}
    assert keep(plane)["image"].shape == (1, 6, 5)


def test_annotated_ids_become_a_mask():
    mask = AnnotatedMaskd(4)
    assert mask({"annotated": [0, 2]})["annotated"].tolist() == [True, False, True, False]
    assert torch.equal(mask({})["annotated"], torch.ones(4, dtype=torch.bool))
