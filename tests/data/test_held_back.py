"""Blocks of annotated images that are held back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile

from scsam_monai.data.annotations import Annotation, Annotations, voxels
from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.held_back import MANY, hold_back, write_parts
from scsam_monai.data.hold_out import GAP
from scsam_monai.io import read_labels

NAMES = ["background", "membrane", "synapse", "nucleus"]


def annotation(folder: Path, label: np.ndarray, name: str = "raw") -> Annotation:
    image = np.random.default_rng(0).integers(0, 255, label.shape, dtype=np.uint8)
    path = folder / f"{name}.tif"
    tifffile.imwrite(path, image, photometric="minisblack")
    return Annotation(path, label, [50.0, 4.0, 4.0], [0, 1, 2, 3])


def spotted() -> np.ndarray:
    """Membranes all over, two synapses far apart, one nucleus that no two blocks can share."""
    label = np.zeros((1, 400, 400), np.uint8)
    label[:, ::9] = 1
    label[:, 20:45, 20:45] = label[:, 350:375, 330:355] = 2
    label[:, 200:230, 100:125] = 3
    return label


def parts(folder: Path, *labels: np.ndarray, kept=None):
    items = [annotation(folder, label, f"raw{index}") for index, label in enumerate(labels)]
    found = Annotations(NAMES, items)
    blocks = hold_back(found, kept or {})
    return found, write_parts(found, blocks, folder / "data")


def read(item) -> np.ndarray:
    label = read_labels(item["label"]).array
    return label if label.ndim == 3 else label[None]


def test_classes_of_one_section_are_in_both_parts(tmp_path) -> None:
    found, made = parts(tmp_path, spotted())
    description = load_dataset(made.checked)
    (learn,), (check,) = description.training, description.validation
    learned, held = read(learn), read(check)
    assert not ((learned != 255) & (held != 255)).any()
    assert np.array_equal(held[held != 255], found.learn[0].label[held != 255])
    for index in (0, 1, 2):
        assert voxels(learned, 4)[index] > 100, NAMES[index]
        assert voxels(held, 4)[index] > 100, NAMES[index]
    assert 0.1 < (held != 255).mean() < 0.35
    everything = load_dataset(made.everything)
    assert np.array_equal(read(everything.training[0]), spotted())
    assert not everything.validation


def test_a_gap_lies_between_what_is_learned_and_what_is_held_back(tmp_path) -> None:
    _, made = parts(tmp_path, spotted())
    description = load_dataset(made.checked)
    learned, held = read(description.training[0])[0], read(description.validation[0])[0]
    assert made.blocks[0]
    for (top, bottom), (left, right) in made.blocks[0]:
        assert (held[top:bottom, left:right] != 255).all()
        around = learned[max(top - GAP, 0) : bottom + GAP, max(left - GAP, 0) : right + GAP]
        assert (around == 255).all()


def test_a_class_in_one_place_is_learned_and_said_not_to_be_scored(tmp_path) -> None:
    label = np.zeros((1, 400, 400), np.uint8)
    label[:, ::9], label[:, 222:248, 222:248] = 1, 3
    _, made = parts(tmp_path, label)
    learned = read(load_dataset(made.checked).training[0])
    assert voxels(learned, 4)[3] == 26 * 26
    assert any(note.startswith("not scored") and "nucleus" in note for note in made.notes)


def test_blocks_that_were_held_back_before_stay_so(tmp_path) -> None:
    before = [[[0, 60], [0, 60]]]
    _, made = parts(tmp_path, spotted(), spotted(), kept={0: before})
    assert made.blocks[0] == before
    assert made.blocks[1]


def test_an_annotated_region_alone_is_divided_and_seen(tmp_path) -> None:
    label = np.full((3, 800, 800), 255, np.uint8)
    label[1, 300:500, 300:500] = spotted()[0, :200, :200]
    _, made = parts(tmp_path, label)
    description = load_dataset(made.checked)
    assert description.training[0]["region"][0] == [1, 2]
    for axis in (1, 2):
        low, high = description.training[0]["region"][axis]
        assert 150 <= low <= 300
        assert 500 <= high <= 650
    assert (read(description.validation[0])[1, 300:500, 300:500] != 255).any()


def test_of_many_images_whole_ones_are_held_back(tmp_path) -> None:
    found, made = parts(tmp_path, *[spotted()[:, :64, :64]] * MANY)
    assert {str(blocks) for blocks in made.blocks} == {"[]", "[[[0, 64], [0, 64]]]"}
    assert len(load_dataset(made.checked).validation) < MANY / 2
    assert len(found.learn) == MANY


def test_a_part_to_check_on_is_taken_as_it_is(tmp_path) -> None:
    items = [annotation(tmp_path, spotted(), name) for name in ("one", "two")]
    found = Annotations(NAMES, items[:1], check=items[1:])
    made = write_parts(found, hold_back(found, {}), tmp_path / "data")
    assert made.everything is None
    assert made.scored
    description = load_dataset(made.checked)
    assert np.array_equal(read(description.training[0]), spotted())
    assert Path(description.validation[0]["image"]).name == "two.tif"


def test_a_patch_too_small_to_divide_is_learned_whole(tmp_path) -> None:
    label = np.full((1, 100, 100), 255, np.uint8)
    label[0, 10:40, 10:40], label[0, 20:30, 20:30] = 0, 1
    _, made = parts(tmp_path, label)
    assert not made.scored
    assert made.everything is None
    assert made.notes == ["too little is labelled to hold a part back: nothing is scored"]


def test_of_many_regions_of_one_image_whole_regions_are_held_back(tmp_path) -> None:
    label = np.full((1, 40, 10 * MANY), 255, np.uint8)
    regions = [label.copy() for _ in range(MANY)]
    for index, region in enumerate(regions):
        region[:, 5:30, 10 * index : 10 * index + 8] = 1
    items = [annotation(tmp_path, region) for region in regions]
    blocks = hold_back(Annotations(NAMES, items), {})
    held = [index for index, own in enumerate(blocks) if own]
    assert 0 < len(held) < MANY
    assert blocks[held[0]] == [[[5, 30], [10 * held[0], 10 * held[0] + 8]]]
