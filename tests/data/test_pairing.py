"""Images and labels are paired by their names, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from scsam_monai.data.pairing import pair_by_name
from scsam_monai.errors import InputError

BASE = Path("/data")


def pair(images: list[str], labels: list[str]) -> list[tuple[str, str]]:
    paths = ([BASE / name for name in names] for names in (images, labels))
    return [(str(a.relative_to(BASE)), str(b.relative_to(BASE))) for a, b in pair_by_name(BASE, *paths)]


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (["c1_raw.tif", "c2_raw.tif", "c10_raw.tif"], ["c1_label.tif", "c2_label.tif", "c10_label.tif"]),
        (["s9.png", "s10.png", "s11.png"], ["s009_mask.png", "s010_mask.png", "s011_mask.png"]),
        (["cellA.tif", "cellB.tif"], ["cellA_labels.tif", "cellB_labels.tif"]),
        (["m1/day2/raw.tif", "m2/day1/raw.tif"], ["m1/day2/label.tif", "m2/day1/label.tif"]),
        (["images/Mouse-1.tif", "images/Mouse-2.tif"], ["labels/mouse_1.nii.gz", "labels/mouse_2.nii.gz"]),
        (["anything.tif"], ["something else.tif"]),
    ],
)
def test_names_that_tell_pairs(images: list[str], labels: list[str]) -> None:
    assert pair(images, labels[::-1]) == list(zip(images, labels, strict=True))


@pytest.mark.parametrize(
    ("images", "labels", "met"),
    [
        (["c1.tif", "c2.tif"], ["c1_l.tif"], "2 images and 1 labels"),
        (["c1.tif", "c2.tif"], ["c1_l.tif", "c3_l.tif"], r"no label for c2\.tif; no image for c3_l\.tif"),
        (["c1.tif", "c01.tif"], ["c1_l.tif", "c2_l.tif"], "a name of its own for each image"),
        (["a.tif", "b.tif"], ["x.tif", "y.tif"], "no label for a.tif, b.tif"),
        (["c1_x.tif", "c2_y.tif"], ["c1_l.tif", "c2_l.tif"], "no label for c1_x.tif"),
    ],
)
def test_names_that_tell_no_pairs_are_refused(images: list[str], labels: list[str], met: str) -> None:
    with pytest.raises(InputError, match=met):
        pair(images, labels)
