"""Label images come back as the images went in."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
import zarr
from monai.bundle import ConfigParser
from PIL import Image

from scsam_monai.io import LabelVolume, read_header


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 255, (3, 70, 50), dtype=np.uint8)


def run_inference(monai_bundle, config, trained, source, output, *flags, **options):
    files = [
        "--config_file",
        config("inference"),
        "--ckpt_path",
        str(trained / "model.pt"),
        "--roi_size",
        "64",
    ]
    folders = ["--dataset_dir", str(source), "--output_dir", str(output)]
    return monai_bundle("run", "inferring", *files, *folders, *flags, **options)


def test_every_format_keeps_its_shape_and_layout(monai_bundle, config, trained, noise, tmp_path):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    tifffile.imwrite(source / "stack.tif", noise, photometric="minisblack")
    tifffile.imwrite(source / "plane.tif", noise[0])
    Image.fromarray(noise[0]).save(source / "picture.png")
    affine = np.diag([16e-6, 16e-6, 16e-6, 1.0])
    nibabel.save(nibabel.Nifti1Image(noise.T, affine), source / "volume.nii.gz")
    # From another folder: the bundle finds itself.
    run_inference(
        monai_bundle, config, trained, source, output, "--voxel_size_nm", "[16,16,16]", cwd=tmp_path
    )
    stack = tifffile.imread(output / "stack_labels.tif")
    assert stack.shape == noise.shape
    assert stack.dtype == np.uint8
    assert stack.max() < 8
    plane, picture = tifffile.imread(output / "plane_labels.tif"), Image.open(output / "picture_labels.png")
    np.testing.assert_array_equal(plane, np.asarray(picture))
    volume = nibabel.load(output / "volume_labels.nii.gz")
    np.testing.assert_array_equal(np.asarray(volume.dataobj).T, stack)
    np.testing.assert_allclose(volume.affine, affine)
    assert len(list(output.glob("*.png"))) >= 4  # an overlay for each input besides the labels of the picture


def test_frames_and_earlier_outputs_change_nothing(monai_bundle, config, trained, noise, tmp_path):
    """Labels are written beside their images, twice; one image is the other in a frame of NaN."""
    plain = np.clip(noise, 1, 254).astype(np.float32)
    framed = np.pad(plain, ((0, 0), (20, 31), (40, 9)), constant_values=np.nan)
    for name, image in (("plain", plain), ("framed", framed)):
        tifffile.imwrite(tmp_path / f"{name}.tif", image, photometric="minisblack")
    for _ in range(2):
        run_inference(monai_bundle, config, trained, tmp_path, tmp_path, "--voxel_size_nm", "[16,16,16]")
        assert sorted(path.name for path in tmp_path.glob("*.tif")) == [
            *("framed.tif", "framed_labels.tif", "plain.tif", "plain_labels.tif")
        ]
    labels, expected = (tifffile.imread(tmp_path / f"{name}_labels.tif") for name in ("framed", "plain"))
    inner = (slice(None), slice(20, 90), slice(40, 90))
    np.testing.assert_array_equal(labels[inner], expected)
    labels[inner] = 0
    assert not labels.any()


def test_voxel_size_of_the_input_reaches_the_output(monai_bundle, config, trained, grey_stack, tmp_path):
    run_inference(monai_bundle, config, trained, grey_stack, tmp_path / "out")
    assert read_header(tmp_path / "out" / "stack_labels.tif").voxel_size_nm == pytest.approx((16, 16, 16))


def test_a_missing_voxel_size_is_asked_for(monai_bundle, config, trained, noise, tmp_path):
    tifffile.imwrite(tmp_path / "bare.tif", noise, photometric="minisblack")
    done = run_inference(monai_bundle, config, trained, tmp_path / "bare.tif", tmp_path / "out", check=False)
    assert done.returncode != 0
    assert "voxel_size_nm" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not list((tmp_path / "out").glob("*.tif"))


@pytest.mark.parametrize("roi_size", [-1, [64, 96]])
def test_images_may_be_seen_through_windows_that_volumes_may_not(config, noise, tmp_path, roi_size):
    np.save(tmp_path / "cell.npy", noise)
    parser = ConfigParser(ConfigParser.load_config_files(config("inference")))
    parser["dataset_dir"], parser["roi_size"] = str(tmp_path), roi_size
    assert parser.get_parsed_content("windows") is None
    parser["inputs"] = "$list_inputs(@dataset_dir, 0.0)"
    with pytest.raises(RuntimeError) as failed:
        parser.get_parsed_content("windows")
    assert "window size: expected 32 pixels or more" in str(failed.value.__cause__)


def test_volumes_of_formats_made_for_it_are_streamed_to_the_same_labels(
    monai_bundle, config, trained, noise, tmp_path
):
    source, output = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    tifffile.imwrite(source / "stack.tif", noise, photometric="minisblack")
    zarr.save_array(source / "cell.zarr", noise)
    run_inference(monai_bundle, config, trained, source, output, "--voxel_size_nm", "[16,16,16]")
    streamed = LabelVolume(output / "cell_labels.ome.zarr")
    assert streamed.legend.class_names[0] == "background"
    labels = streamed.read([(0, size) for size in streamed.shape])
    stack = tifffile.imread(output / "stack_labels.tif")
    assert (labels != stack).mean() < 1e-3  # windows meet in batches of another size
    only = run_inference(
        monai_bundle,
        config,
        trained,
        source / "cell.zarr",
        tmp_path / "alone",
        "--voxel_size_nm",
        "[16,16,16]",
    )
    assert "Traceback" not in only.stdout + only.stderr
    assert (tmp_path / "alone" / "cell_labels.ome.zarr").is_dir()
