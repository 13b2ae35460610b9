from __future__ import annotations

import numpy as np
import pytest

from scsam_monai.data import corpus as module
from scsam_monai.data.corpus import write_corpus
from scsam_monai.data.synthetic import generate_volume
from scsam_monai.data.unlabelled import items_hash, list_unlabelled
from scsam_monai.errors import InputError
from scsam_monai.io import read_image, read_labels, write_stack
from tests.bundle.conftest import write_description


@pytest.fixture
def small_kinds(monkeypatch):
    kinds = (module.Kind((2, 96, 96), (16.0, 16.0, 16.0)), module.Kind((1, 80, 80), (40.0, 8.0, 8.0)))
    monkeypatch.setattr(module, "KINDS", kinds)


@pytest.fixture
def fib25(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "blocks"
    for name in ("sample2_raw", "sample1_raw_unlabelled"):
        write_stack(
            folder / f"{name}.tif", rng.integers(0, 255, (250, 20, 20), dtype=np.uint8), (8.0, 8.0, 8.0)
        )
    bodies = np.arange(250, dtype=np.uint16)[:, None, None] + np.zeros((1, 20, 20), np.uint16)
    write_stack(folder / "sample2_neuron_bodies.tif", bodies, (8.0, 8.0, 8.0))
    return folder


def test_a_corpus_holds_images_and_instances_of_the_same_shape(small_kinds, tmp_path):
    folder = write_corpus(tmp_path / "corpus", volumes=3, held_out=1)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [
        "generated_000.tif",
        "generated_001.tif",
        "generated_002.tif",
        "validation_generated_000.tif",
    ]
    for name in names:
        image, instances = read_image(folder / "images" / name), read_labels(folder / "instances" / name)
        assert image.array.shape == instances.array.shape
        assert instances.array.max() > 1
        assert image.voxel_size_nm in ((16, 16, 16), (40, 8, 8))


def test_volumes_differ_and_come_out_the_same_again(small_kinds, tmp_path):
    first, again = (write_corpus(tmp_path / name, volumes=3, held_out=0) for name in ("a", "b"))
    images = [read_image(first / "images" / f"generated_{index:03d}.tif").array for index in (0, 2)]
    assert not np.array_equal(*images)
    assert np.array_equal(images[0], read_image(again / "images" / "generated_000.tif").array)


def test_what_is_there_is_kept(small_kinds, tmp_path):
    folder = write_corpus(tmp_path, volumes=1, held_out=0)
    before = (folder / "instances" / "generated_000.tif").stat().st_mtime_ns
    write_corpus(tmp_path, volumes=2, held_out=0)
    assert (folder / "instances" / "generated_000.tif").stat().st_mtime_ns == before
    assert (folder / "instances" / "generated_001.tif").is_file()


def test_sections_of_fib25_are_held_out(small_kinds, fib25, tmp_path):
    folder = write_corpus(tmp_path / "corpus", volumes=1, held_out=0, fib25=fib25)
    learned = read_labels(folder / "instances" / "fib25_sample2.tif").array
    held_out = read_labels(folder / "instances" / "validation_fib25_sample2.tif").array
    assert learned.max() == 199
    assert held_out.min() == 210
    assert not (folder / "instances" / "fib25_sample1.tif").exists()
    assert (folder / "images" / "fib25_sample1.tif").is_file()


def test_a_missing_block_is_named(small_kinds, fib25, tmp_path):
    (fib25 / "sample2_neuron_bodies.tif").unlink()
    with pytest.raises(InputError, match=r"sample2_neuron_bodies.tif: expected neuron bodies of FIB-25"):
        write_corpus(tmp_path / "corpus", volumes=1, fib25=fib25)


def test_held_out_images_are_not_learned_from(small_kinds, tmp_path, caplog):
    folder = write_corpus(tmp_path, volumes=2, held_out=1)
    with caplog.at_level("INFO"):
        items = list_unlabelled(folder)
    assert [item["image"].rsplit("/", 1)[1] for item in items] == ["generated_000.tif", "generated_001.tif"]
    assert "2 images" in caplog.text
    assert "1 held out" in caplog.text


def test_held_out_images_alone_are_refused(small_kinds, tmp_path):
    folder = write_corpus(tmp_path, volumes=1, held_out=1)
    (folder / "images" / "generated_000.tif").unlink()
    with pytest.raises(InputError, match="expected an image to learn from, not named validation"):
        list_unlabelled(folder)


def test_the_hash_tells_images_and_regions_apart(grey_folder):
    items = list_unlabelled(grey_folder)
    first = items_hash(items)
    assert items_hash(list_unlabelled(grey_folder)) == first
    assert items_hash(items[:1]) != first
    assert items_hash([items[0] | {"region": [[0, 1], [0, 8], [0, 8]]}, items[1]]) != first
    write_stack(grey_folder / "a.tif", np.ones((8, 8), np.uint8), (8.0, 8.0, 8.0))
    assert items_hash(items) != first


def test_the_default_corpus_is_generated(small_kinds, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module.write_corpus, "__kwdefaults__", {**module.write_corpus.__kwdefaults__, "volumes": 2}
    )
    items = list_unlabelled(tmp_path / "corpus", tmp_path / "corpus")
    assert len(items) == 2


def test_a_folder_of_images_will_do(grey_folder):
    assert [item["image"].rsplit("/", 1)[1] for item in list_unlabelled(grey_folder)] == ["a.tif", "b.tif"]


@pytest.fixture
def grey_folder(tmp_path):
    for name in ("a", "b"):
        write_stack(tmp_path / f"{name}.tif", np.arange(64, dtype=np.uint8).reshape(8, 8), (8.0, 8.0, 8.0))
    return tmp_path


def test_of_a_data_set_only_the_named_sections_are_seen(grey_folder):
    first, second = ({"image": f"{name}.tif", "label": f"{name}.tif"} for name in ("a", "b"))
    write_description(grey_folder, training=[first | {"region": [[0, 1], None, None]}], test=[second])
    (item,) = list_unlabelled(grey_folder)
    assert item["image"].endswith("a.tif")
    assert item["region"]
    assert "label" not in item
    assert len(list_unlabelled(grey_folder, sections=("training", "test"))) == 2
    with pytest.raises(InputError, match="sections: expected one of training, validation, test"):
        list_unlabelled(grey_folder, sections=("everything",))


def test_a_corpus_of_tissues_goes_by_their_names(tmp_path, monkeypatch):
    asked = []

    def draw(tissue, seed):
        asked.append((tissue, seed))
        return generate_volume((2, 48, 48), (16.0, 16.0, 16.0), seed)

    monkeypatch.setattr(module, "generate_tissue", draw)
    folder = write_corpus(tmp_path, volumes=3, held_out=1, seed=7, tissues="plant,blood")
    names = sorted(path.stem for path in (folder / "instances").iterdir())
    assert names == ["blood_001", "plant_000", "plant_002", "validation_plant_000"]
    assert asked == [("plant", 7), ("blood", 8), ("plant", 9), ("plant", 7 + module.HELD_OUT_SEEDS)]
