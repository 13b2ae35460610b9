"""Every tissue of the generator, and the ways of looking at it."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.synthetic import (
    CLASSES,
    MODALITIES,
    TISSUES,
    VOCABULARY,
    Look,
    SyntheticVolume,
    chosen_tissues,
    draw_look,
    generate_tissue,
    write_tissue_dataset,
)
from scsam_monai.data.synthetic import looks as looks_module
from scsam_monai.data.synthetic.acquisition import acquire, compress
from scsam_monai.data.synthetic.tissues import dataset as dataset_module
from scsam_monai.errors import InputError

FAULTS = ("inverted", "charging", "knife_marks", "folds", "margin", "tiles")
EXPECTED = {
    "neuropil": {"membrane", "mitochondrion", "granule", "synapse", "er"},
    "hepatocyte": {"membrane", "nucleus", "mitochondrion", "er", "vacuole"},
    "gland": {"membrane", "nucleus", "mitochondrion", "granule", "er", "golgi"},
    "blood": {"membrane", "granule", "mitochondrion", "extracellular"},
    "plant": {"membrane", "chloroplast", "vacuole", "extracellular"},
    "islet": {"membrane", "nucleus", "mitochondrion", "granule", "er"},
}
"""Classes that a field of 3 um always shows, whatever the seed."""


def plain(modality: str = "fib-sem", seed: int = 0, side: int = 224, pixel: float = 14.0) -> Look:
    """A small look without faults."""
    look = draw_look(modality, np.random.default_rng(seed))
    return replace(
        look,
        shape=(4, side, side),
        voxel_size_nm=(16.0, pixel, pixel),
        compression=0.0,
        dtype="uint8",
        **dict.fromkeys(FAULTS, False),
    )


@cache
def drawn(tissue: str) -> SyntheticVolume:
    return generate_tissue(tissue, 3, plain())


@pytest.mark.parametrize("tissue", TISSUES)
def test_same_seed_gives_the_same_bits_and_another_seed_does_not(tissue: str) -> None:
    small = plain(side=80)
    first, again, other = (generate_tissue(tissue, seed, small) for seed in (3, 3, 4))
    for name in ("image", "labels", "instances"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


@pytest.mark.parametrize("tissue", TISSUES)
def test_a_tissue_shows_its_organelles_and_no_others(tissue: str) -> None:
    volume = drawn(tissue)
    shares = np.bincount(volume.labels.ravel(), minlength=len(VOCABULARY)) / volume.labels.size
    seen = {name for name, share in zip(VOCABULARY, shares, strict=True) if share > 0.0004}
    assert EXPECTED[tissue] <= seen
    assert ("chloroplast" in seen) == (tissue == "plant")
    assert tissue == "neuropil" or not {"synapse", "myelin"} & seen
    assert seen - {"background"} <= set(TISSUES[tissue].annotated)


@pytest.mark.parametrize("tissue", TISSUES)
def test_each_instance_has_one_class_and_zero_is_background(tissue: str) -> None:
    volume = drawn(tissue)
    assert np.array_equal(volume.instances == 0, volume.labels == 0)
    pairs = np.unique(np.stack([volume.instances.ravel(), volume.labels.ravel()]), axis=1)
    assert np.array_equal(pairs[0], np.arange(pairs.shape[1])), "an id has two classes, or the ids have gaps"


@pytest.mark.parametrize("tissue", TISSUES)
def test_grey_values_rank_as_stain_does(tissue: str) -> None:
    volume = drawn(tissue)
    counts = np.bincount(volume.labels.ravel(), minlength=len(VOCABULARY))
    sums = np.bincount(volume.labels.ravel(), volume.image.ravel(), len(VOCABULARY))
    mean = dict(zip(VOCABULARY, sums / np.maximum(counts, 1), strict=True))
    assert mean["membrane"] < mean["background"]
    if "mitochondrion" in EXPECTED[tissue]:
        assert mean["mitochondrion"] < mean["background"]
    if tissue == "blood":
        assert mean["extracellular"] > mean["background"]


def test_neurites_are_packed() -> None:
    """Membranes bound many profiles in every section of neuropil, and little lies between them."""
    profiles = []
    for seed in range(3):
        volume = generate_tissue("neuropil", seed, plain("sstem", side=192, pixel=10.0))
        enclosed, _ = ndimage.label(volume.labels[1] != VOCABULARY.index("membrane"))
        profiles.append(int(np.count_nonzero(np.bincount(enclosed.ravel())[1:] > 40)))
        assert np.mean(volume.labels == VOCABULARY.index("extracellular")) < 0.1
    assert np.median(profiles) > 15


def test_the_common_vocabulary_keeps_the_numbers_of_the_sample_data() -> None:
    assert VOCABULARY[: len(CLASSES)] == CLASSES
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert set(TISSUES["islet"].annotated) == set(CLASSES)


@pytest.mark.parametrize("modality", MODALITIES)
def test_looks_lie_in_their_ranges(modality: str) -> None:
    column = MODALITIES.index(modality)
    for seed in range(30):
        look = draw_look(modality, np.random.default_rng(seed), finest_nm=6.0, coarsest_nm=12.0)
        assert look.style.name == modality
        pixel = look.voxel_size_nm[1]
        assert 6.0 <= pixel <= 12.0
        assert look.voxel_size_nm[2] == pixel
        assert (modality == "fib-sem") == (look.voxel_size_nm[0] == pixel)
        for name, row in looks_module._STAIN.items():
            assert row[column][0] <= getattr(look.style, name) <= row[column][1]


def test_every_fault_occurs_somewhere() -> None:
    drawn_looks = [draw_look(None, np.random.default_rng(seed)) for seed in range(300)]
    for fault in FAULTS:
        assert 3 < sum(getattr(look, fault) for look in drawn_looks) < 150, fault
    assert {look.dtype for look in drawn_looks} == {"uint8", "uint16"}
    assert {look.style.name for look in drawn_looks} == set(MODALITIES)
    assert 0 < sum(look.compression > 0 for look in drawn_looks) < 150


def grey_steps(side: int = 96) -> np.ndarray:
    grey = np.full((4, side, side), 0.6, np.float32)
    grey[:, : side // 2] = 0.3
    return grey


def test_inversion_turns_dark_to_light() -> None:
    look = plain()
    positive, negative = (
        acquire(grey_steps(), replace(look, inverted=inverted), np.random.default_rng(0))[0].astype(int)
        for inverted in (False, True)
    )
    assert np.abs(positive + negative - 255).max() <= 1


def test_a_fold_is_dark_and_told() -> None:
    image, hidden, missing = acquire(
        grey_steps(), replace(plain("sstem"), folds=True), np.random.default_rng(1)
    )
    assert not missing.any()
    assert 0.001 < hidden.mean() < 0.5
    assert image[hidden].mean() < 0.7 * image[~hidden].mean()


def test_what_a_fold_hides_is_unknown_and_a_margin_is_background() -> None:
    look = replace(plain("sstem", side=128), folds=True, margin=True)
    volumes = [generate_tissue("neuropil", seed, look) for seed in range(3)]
    assert any((volume.labels == 255).any() for volume in volumes)
    for volume in volumes:
        assert np.array_equal(volume.instances == 0, (volume.labels == 0) | (volume.labels == 255))
    image, _, missing = acquire(grey_steps(), replace(look, folds=False), np.random.default_rng(4))
    assert missing.any()
    assert (image[missing] == 0).all()


def test_jitter_moves_labels_with_the_picture() -> None:
    look = replace(plain("sstem", side=160), jitter_nm=60.0)
    still, moved = (generate_tissue("neuropil", 5, replace(look, jitter_nm=nm)) for nm in (0.0, 60.0))
    changes = [np.mean(v.labels[1:] != v.labels[:-1]) for v in (still, moved)]
    assert changes[1] > 1.3 * changes[0]
    membrane = moved.labels == VOCABULARY.index("membrane")
    for section, where in zip(moved.image, membrane, strict=True):
        assert section[where].mean() < section[~where].mean()


def test_compression_leaves_blocks_of_eight_pixels() -> None:
    rng = np.random.default_rng(0)
    shown = np.clip(0.5 + 0.15 * rng.standard_normal((1, 60, 68)), 0, 1).astype(np.float32)
    fine, coarse = (np.abs(compress(shown, quality) - shown).mean() for quality in (95, 20))
    assert fine < 0.02 < coarse
    lost = compress(shown, 5)
    steps = np.abs(np.diff(lost[0], axis=1))
    assert steps[:, 7::8].mean() > 2 * steps[:, 3::8].mean()


@pytest.mark.parametrize(
    ("names", "expected"),
    [("all", list(TISSUES)), ("plant", ["plant"]), ("plant, neuropil", ["plant", "neuropil"])],
)
def test_tissues_are_chosen_by_name(names: str, expected: list[str]) -> None:
    assert chosen_tissues(names) == expected


def test_an_unknown_tissue_or_microscope_is_named() -> None:
    with pytest.raises(InputError, match=r"tissue: expected all, or some of neuropil.*'bone'"):
        chosen_tissues("plant,bone")
    with pytest.raises(InputError, match=r"microscope: expected one of fib-sem.*'x-ray'"):
        generate_tissue("plant", look="x-ray")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(tissue: str, seed: int, microscope: str | None) -> SyntheticVolume:
        look = plain(seed=seed % 7, side=96)
        return generate_tissue(tissue, seed, replace(look, inverted=microscope == "sbf-sem"))

    monkeypatch.setattr(dataset_module, "generate_tissue", draw)


def test_a_data_set_of_tissues_says_what_is_annotated(quick: None, tmp_path: Path) -> None:
    path = write_tissue_dataset(tmp_path, "islet,plant", training=3)
    found = load_dataset(path)
    assert found.class_names == list(VOCABULARY)
    assert [len(items) for items in found.sections.values()] == [3, 2, 2]
    for items in found.sections.values():
        for item in items:
            tissue = Path(item["image"]).stem.split("_")[1]
            assert [VOCABULARY[index] for index in item["annotated"]] == list(TISSUES[tissue].annotated)
            assert tifffile.imread(item["label"]).max() < len(VOCABULARY)
    before = path.stat().st_mtime_ns
    assert write_tissue_dataset(tmp_path, "islet,plant", training=3) == path
    assert path.stat().st_mtime_ns == before


def test_another_tissue_or_volume_changes_no_other(quick: None, tmp_path: Path) -> None:
    few, more = (
        write_tissue_dataset(tmp_path / str(n), names, training=n).parent
        for n, names in ((2, "plant"), (4, "islet,plant"))
    )
    for name in ("training_plant_1", "test_plant_0"):
        assert (few / "images" / f"{name}.tif").read_bytes() == (more / "images" / f"{name}.tif").read_bytes()
    images = [item["image"] for item in json.loads((few / "dataset.json").read_text())["training"]]
    assert len({(few / image).read_bytes() for image in images}) == 2


def test_a_data_set_looked_at_with_one_microscope_is_another(quick: None, tmp_path: Path) -> None:
    seen = []
    for microscope in (None, "sbf-sem"):
        folder = write_tissue_dataset(tmp_path, "plant", training=1, microscope=microscope).parent
        assert json.loads((folder / "dataset.json").read_text())["generator"].get("microscope") == microscope
        seen.append((folder / "images" / "test_plant_0.tif").read_bytes())
    assert seen[0] != seen[1]


def test_a_microscope_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="microscope: expected one of fib-sem, sbf-sem, sstem, tomogram"):
        write_tissue_dataset(tmp_path / "new", "plant", microscope="light")
    assert not (tmp_path / "new").exists()


def test_every_tissue_needs_a_training_volume(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="training: expected 2 volumes or more"):
        write_tissue_dataset(tmp_path, "islet,plant", training=1)
