from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor, decollate_batch, list_data_collate
from monai.engines import SupervisedEvaluator, SupervisedTrainer
from PIL import Image
from torch import Tensor, nn

from scsam_monai.data.dataset import load_dataset
from scsam_monai.data.transforms import CropToRegiond, KeepKnownSectionsd
from scsam_monai.io import write_stack
from scsam_monai.report import FirstBatchPicture, PredictionPictures, ValidationPictures, contact_sheet
from scsam_monai.report import handlers as module
from scsam_monai.report.kept_sections import kept_sheets
from scsam_monai.report.volume_picture import item_name, richest_slice

NAMES = ["background", "nucleus"]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """Arguments of the figures drawn, which are drawn all the same."""
    calls: list[tuple] = []
    for name in ("crop_sheet", "comparison_panel", "prediction_panel"):
        draw = getattr(module, name)

        def spy(*args, _draw=draw, **kwargs):
            calls.append(args)
            return _draw(*args, **kwargs)

        monkeypatch.setattr(module, name, spy)
    return calls


def crops(count: int) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        {"image": torch.rand(1, 16, 24, generator=generator), "label": torch.randint(0, 2, (1, 16, 24))}
        for _ in range(count)
    ]


@pytest.mark.parametrize("decollate", [True, False])
def test_first_batch_of_a_monai_trainer(tmp_path: Path, drawn: list[tuple], decollate: bool) -> None:
    network = nn.Conv2d(1, 2, 1)
    data = crops(4)
    trainer = SupervisedTrainer(
        device="cpu",
        max_epochs=2,
        train_data_loader=torch.utils.data.DataLoader(data, batch_size=2),
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), 0.1),
        loss_function=lambda logits, label: nn.functional.cross_entropy(logits, label[:, 0]),
        train_handlers=[FirstBatchPicture(tmp_path, NAMES)],
        decollate=decollate,
    )
    trainer.run()
    assert [path.name for path in tmp_path.iterdir()] == ["first_batch.png"]
    assert len(drawn) == 1
    images, labels = drawn[0][:2]
    np.testing.assert_array_equal(images, np.stack([crop["image"][0] for crop in data[:2]]))
    np.testing.assert_array_equal(labels, np.stack([crop["label"][0] for crop in data[:2]]))


@pytest.mark.parametrize("decollated", [True, False])
def test_first_batch_with_targets_in_a_dictionary(
    tmp_path: Path, drawn: list[tuple], decollated: bool
) -> None:
    image, label = torch.rand(2, 1, 8, 8), torch.ones(2, 1, 8, 8)
    annotated = torch.ones(2, 2)
    output = {"image": image, "label": {"label": label, "annotated": annotated}}
    items = [
        {"image": image[i], "label": {"label": label[i], "annotated": annotated[i]}}
        for i in range(len(image))
    ]
    engine = Engine(lambda *_: items if decollated else output)
    FirstBatchPicture(tmp_path, NAMES).attach(engine)
    engine.run([0])
    np.testing.assert_array_equal(drawn[0][1], label[:, 0])


def evaluator(items: list[dict[str, Tensor]], handler: ValidationPictures) -> SupervisedEvaluator:
    def collate(batch: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        return {key: torch.stack([item[key] for item in batch]) for key in batch[0]}

    return SupervisedEvaluator(
        device="cpu",
        val_data_loader=torch.utils.data.DataLoader(items, batch_size=1, collate_fn=collate),
        network=nn.Identity(),
        val_handlers=[handler],
    )


def item(name: str, *shape: int) -> dict[str, Tensor]:
    image = MetaTensor(torch.rand(1, *shape).round(), meta={"filename_or_obj": f"/data/{name}.nii.gz"})
    return {"image": image, "label": torch.zeros(1, *shape)}


def test_one_picture_per_item_and_epoch(tmp_path: Path) -> None:
    engine = evaluator(
        [item("a b", 8, 9), item("c", 8, 9), item("d", 8, 9)], ValidationPictures(tmp_path, NAMES, 2)
    )
    engine.run(global_epoch=1)
    engine.run(global_epoch=12)
    assert sorted(path.name for path in tmp_path.glob("*.png")) == [
        "validation_a_b_epoch001.png",
        "validation_a_b_epoch012.png",
        "validation_c_epoch001.png",
        "validation_c_epoch012.png",
    ]
    (first, *_) = kept_sheets(tmp_path, "Validation", NAMES, 12, 4)["validation_a_b"]
    assert (first.width, first.height) == (8, 9)
    assert [layer.index for layer in first.layers] == [1]


def test_items_of_one_file_do_not_overwrite_each_other(tmp_path: Path) -> None:
    evaluator([item("a", 8, 9), item("a", 8, 9)], ValidationPictures(tmp_path, NAMES)).run()
    assert {path.name for path in tmp_path.glob("*.png")} == {
        "validation_a_epoch001.png",
        "validation_a-2_epoch001.png",
    }


def test_the_title_names_the_section_of_the_file(tmp_path: Path, drawn: list[tuple]) -> None:
    cell = item("cell", 8, 9, 5)
    cell["label"][0, 3, 4, 1] = 1
    cell["label"][..., 0] = 255
    cut = CropToRegiond(["image", "label"])({**cell, "region": [[1, 5], [0, 9], [0, 8]]})
    cut["label"][..., 2] = 255
    cut = KeepKnownSectionsd(["image", "label"])(cut)
    batch = list_data_collate([cut])
    (back,) = decollate_batch(batch)
    ValidationPictures(tmp_path, NAMES).draw({**back, "pred": back["label"]}, "cell", 3)
    assert drawn[0][4] == "cell, epoch 3, section 1 (of 1-4)"
    assert back["image"].meta["sections"].tolist() == [1, 2, 4]


def test_shows_the_richest_slice_upright(tmp_path: Path, drawn: list[tuple]) -> None:
    cell = item("cell", 8, 9, 5)
    cell["label"][0, 3, 4, 1] = 1
    evaluator([cell], ValidationPictures(tmp_path, NAMES)).run()
    image, truth, prediction, _, title = drawn[0][:5]
    assert image.shape == (9, 8)
    np.testing.assert_array_equal(image, cell["image"][0, :, :, 1].numpy().T)
    np.testing.assert_array_equal(prediction, image)
    assert truth[4, 3] == 1
    assert title == "cell, epoch 1, section 1 (of 0-4)"


def test_richest_slice_prefers_the_middle_and_ignores_unknown() -> None:
    labels = np.zeros((5, 2, 2), dtype=np.uint8)
    assert richest_slice(labels) == 2
    labels[0, 0, 0] = 255
    assert richest_slice(labels) == 2
    labels[4, 0, 0] = labels[3, 0, 0] = 1
    assert richest_slice(labels) == 3


def test_tensors_without_a_file_have_a_name() -> None:
    assert item_name(torch.zeros(1)) == "item"


@pytest.mark.parametrize("squeezed", [False, True])
def test_prediction_without_ground_truth(tmp_path: Path, drawn: list[tuple], squeezed: bool) -> None:
    cell = item("cell", 8, 9, 5)
    prediction = torch.zeros(1, 8, 9, 5, dtype=torch.uint8)
    prediction[0, 3, 4, 1] = 2
    output = [{"image": cell["image"], "pred": prediction[0] if squeezed else prediction}] * 2
    engine = Engine(lambda *_: output)
    PredictionPictures(tmp_path).attach(engine)
    engine.run([0])
    assert {path.name for path in tmp_path.iterdir()} == {"cell_prediction.png", "cell-2_prediction.png"}
    image, shown, names, title, width = drawn[0]
    assert width is None  # the file states no size
    np.testing.assert_array_equal(image, cell["image"][0, :, :, 1].numpy().T)
    np.testing.assert_array_equal(shown, prediction[0, :, :, 1].numpy().T)
    assert names == ["background", "class 1", "class 2"]
    assert title == "cell, slice 1"


def test_draws_no_more_predictions_than_asked(tmp_path: Path) -> None:
    image = torch.rand(1, 8, 9)
    engine = Engine(lambda *_: [{"image": image, "pred": image.round()}] * 2)
    PredictionPictures(tmp_path, NAMES, max_pictures=3).attach(engine)
    engine.run([0, 1])
    assert len(list(tmp_path.iterdir())) == 3


def test_reconstructions_are_drawn_every_few_epochs_and_at_the_end(tmp_path):
    image = torch.rand(10, 1, 32, 32)
    engine = Engine(lambda engine, batch: {"image": image, "pred": image / 2})
    pictures = module.ReconstructionPictures(
        tmp_path, lambda drawn, image: (image * 0, drawn), interval=2, max_images=3
    )
    pictures.attach(engine)
    engine.run([0], max_epochs=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["epoch002.png", "epoch003.png"]
    width, height = Image.open(tmp_path / "epoch003.png").size
    assert width > height  # two images and their pictures in a row, three images in two rows


def test_the_contact_sheet_names_the_section_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = np.zeros((8, 16, 16), np.uint8)
    labels[6, 4:8, 4:8] = 1
    write_stack(tmp_path / "label.tif", labels, (16.0, 16.0, 16.0))
    grey = np.random.default_rng(0).integers(0, 255, labels.shape, dtype=np.uint8)
    write_stack(tmp_path / "raw.tif", grey, (16.0, 16.0, 16.0))
    region = [[4, 8], [0, 16], [0, 16]]
    content = {
        "labels": {"0": "background", "1": "granule"},
        "training": [{"image": "raw.tif", "label": "label.tif", "region": region}],
    }
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    captions: list[str] = []
    grid = contact_sheet.picture_grid
    monkeypatch.setattr(
        contact_sheet, "picture_grid", lambda *words: (captions.extend(words[1]), grid(*words))[1]
    )
    contact_sheet.write_contact_sheet(load_dataset(tmp_path), tmp_path / "pairs.png")
    assert captions[0] == "training: raw.tif, section 6 (of 4-7)"
