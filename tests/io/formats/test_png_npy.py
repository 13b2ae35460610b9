from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scsam_monai.errors import InputError
from scsam_monai.io import read_header, read_image, read_labels, write_labels_like

IMAGE = np.random.default_rng(0).integers(0, 200, (8, 10)).astype(np.uint8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_png(tmp_path, dtype):
    Image.fromarray(IMAGE.astype(dtype) * dtype(1)).save(tmp_path / "a.png", dpi=(6.35e6, 5.08e6))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.array, IMAGE)
    assert (image.array.dtype, image.header.dtype) == (dtype, dtype)
    assert image.voxel_size_nm == pytest.approx((5, 5, 4), rel=1e-6)
    write_labels_like(tmp_path / "b.png", IMAGE % 4, image)
    with Image.open(tmp_path / "b.png") as written:
        assert written.mode == "L"
        np.testing.assert_array_equal(np.asarray(written), IMAGE % 4)
    assert read_header(tmp_path / "b.png").voxel_size_nm == pytest.approx((5, 5, 4), rel=1e-6)


def test_a_two_valued_image_becomes_grey(tmp_path):
    Image.fromarray(IMAGE > 100).save(tmp_path / "a.png")
    array = read_image(tmp_path / "a.png").array
    np.testing.assert_array_equal(array, IMAGE > 100)
    assert array.dtype == np.uint8


@pytest.mark.parametrize("dpi", [None, (72, 72)])
def test_print_resolution_is_no_voxel_size(tmp_path, dpi):
    Image.fromarray(IMAGE).save(tmp_path / "a.png", **({"dpi": dpi} if dpi else {}))
    assert read_header(tmp_path / "a.png").voxel_size_nm is None


def test_labels_beyond_255_need_16_bit(tmp_path):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    labels = IMAGE.astype(np.int64) * 100
    write_labels_like(tmp_path / "b.png", labels, read_header(tmp_path / "a.png"))
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png").array, labels)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_and_transparency_are_refused(tmp_path, mode):
    channels = np.stack([IMAGE, 255 - IMAGE, IMAGE, IMAGE][: len(mode)], -1)
    Image.fromarray(channels, mode).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=rf"met {len(mode)} along its axis s \(colour sample\)"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_grey_that_was_saved_as_colour_is_read_as_grey_and_said(tmp_path, mode, caplog):
    Image.fromarray(IMAGE).convert(mode).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(image.array, IMAGE)
    assert "a.png: grey saved as colour" in caplog.text
    write_labels_like(tmp_path / "b.png", IMAGE % 3, image)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png").array, IMAGE % 3)


def write_png(path, rows, width, bits, kind):
    """A PNG of packed rows, as Pillow does not write them; of kind 0 grey, 2 RGB, 3 palette, 4 LA or 6 RGBA."""

    def chunk(name, content):
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", width, len(rows), bits, kind, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(48))) if kind == 3 else b""
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + palette + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("kind", "name", "channels"), [(2, "RGB", 3), (4, "grey with .*", 2), (6, "RGB with .*", 4)]
)
def test_16_bits_in_colour_are_refused(tmp_path, kind, name, channels):
    grey = (IMAGE * 300.0).astype(">u2")[..., None].repeat(channels, -1)
    grey[..., -1] = grey[..., -1] if kind == 2 else 65535
    write_png(tmp_path / "a.png", [row.tobytes() for row in grey], 10, 16, kind)
    for read in (read_image, read_labels):
        with pytest.raises(InputError, match=f"met .*{name} of 16 bits, of which 8 would be lost"):
            read(tmp_path / "a.png")
    write_png(tmp_path / "b.png", [row[:, 0].tobytes() for row in grey], 10, 16, 0)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.png").array, grey[..., 0])


@pytest.mark.parametrize("kind", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_values_of_few_bits_are_those_that_are_stored(tmp_path, bits, kind):
    values = IMAGE[:, :8] % 2**bits
    single = (values[..., None] >> np.arange(bits)[::-1] & 1).reshape(8, -1)
    write_png(tmp_path / "a.png", [row.tobytes() for row in np.packbits(single, axis=-1)], 8, bits, kind)
    labels = read_labels(tmp_path / "a.png")
    np.testing.assert_array_equal(labels.array, values)
    assert labels.array.dtype == np.uint8
    if kind == 0:
        np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, values)


def test_large_micrographs_are_no_decompression_bombs(tmp_path, monkeypatch):
    Image.fromarray(IMAGE).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array, IMAGE)


def test_an_animation_is_not_cut_to_its_first_frame(tmp_path):
    frames = [Image.fromarray(IMAGE), Image.fromarray(255 - IMAGE)]
    frames[0].save(tmp_path / "a.png", save_all=True, append_images=frames[1:])
    with pytest.raises(InputError, match="met 2 frames"):
        read_image(tmp_path / "a.png")


def test_a_palette_is_a_label_image_only(tmp_path):
    palette = Image.fromarray(IMAGE % 4)
    palette.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    palette.save(tmp_path / "a.png")
    with pytest.raises(InputError, match="palette"):
        read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").array, IMAGE % 4)


@pytest.mark.parametrize("shape", [(8, 10), (3, 8, 10)])
def test_npy(tmp_path, shape):
    array = np.random.default_rng(0).normal(size=shape).astype(">f4")
    np.save(tmp_path / "a.npy", array)
    image = read_image(tmp_path / "a.npy")
    np.testing.assert_array_equal(image.array, array)
    assert image.array.dtype.isnative
    assert image.voxel_size_nm is None
    write_labels_like(tmp_path / "b.npy", np.ones(shape, np.int64), image)
    assert np.load(tmp_path / "b.npy").dtype == np.uint8


@pytest.mark.parametrize(
    ("array", "met"),
    [
        (np.zeros((8, 10, 3), np.uint8), "colour channels"),
        (np.zeros((2, 2, 8, 10), np.uint8), "4 dimensions"),
        (np.zeros((0, 10), np.uint8), r"shape \(0, 10\)"),
        (np.array([{}, {}], dtype=object), "Python objects"),
        (np.zeros((8, 10), np.complex128), "complex128"),
        (np.full((8, 10), "a"), "<U1"),
    ],
)
def test_npy_that_is_no_image(tmp_path, array, met):
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=met):
        read_image(tmp_path / "a.npy")


def test_masks_of_cellpose_are_named_and_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    np.save(tmp_path / "cell_seg.npy", {"masks": IMAGE, "trap": Trap()}, allow_pickle=True)
    for read in (read_image, read_labels):
        with pytest.raises(InputError, match=r"of Cellpose by its name, .*; export the masks as TIFF or PNG"):
            read(tmp_path / "cell_seg.npy")
    assert not (tmp_path / "ran").exists()
