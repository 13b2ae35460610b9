"""A training step and a validation of a promptable network."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from scipy.ndimage import binary_erosion

from scsam_monai.networks.prompt_window import Prompts
from scsam_monai.networks.promptable_sam import PromptableSAM, PromptedMasks
from scsam_monai.report.prompts import PromptPictures
from scsam_monai.training.losses.promptable import PromptLoss
from scsam_monai.training.pretraining.prompt_step import (
    OutlineHelper,
    PromptStep,
    bounding_boxes,
    box_prompts,
    corrected,
    first_prompts,
    jittered,
    objects,
    outlines_and_insides,
    point_prompts,
    random_pixel,
    settled,
)
from scsam_monai.training.pretraining.prompt_validation import PromptScores, PromptValidation, centres

ENGINE = SimpleNamespace(state=SimpleNamespace(device=torch.device("cpu")))


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    label = torch.zeros(2, 1, 64, 64, dtype=torch.uint8)
    label[0, 0, 8:24, 8:24], label[0, 0, 40:56, 30:60], label[1, 0, 20:50, 20:40] = 1, 2, 1
    image = (label > 0).float() * 0.5 + 0.2 + 0.05 * torch.randn(2, 1, 64, 64)
    regions = torch.stack([outlines_and_insides(ids.numpy()) for ids in label[:, 0]])
    return {"image": image, "label": label, "regions": regions}


def network() -> PromptableSAM:
    torch.manual_seed(0)
    return PromptableSAM("vit_t")


def step(net: PromptableSAM, batch: dict[str, torch.Tensor], **options) -> PromptStep:
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)
    made = PromptStep(net, optimizer, PromptLoss(), clip=1e9, **options)
    made(ENGINE, batch)
    return made


def test_objects_are_taken_apart(batch):
    index, masks = objects(batch["label"])
    assert index.tolist() == [0, 0, 1]
    assert masks.flatten(1).sum(dim=1).tolist() == [256, 480, 600]


def test_gradients_are_those_of_the_whole_batch_at_once(batch):
    """Without the detours: one graph over encoder, decoder and loss."""
    net, plain = network(), network()
    torch.manual_seed(3)
    step(net, batch, rounds=0, chunk=8)
    torch.manual_seed(3)
    torch.rand(())  # whether the step corrects
    index, masks = objects(batch["label"])
    prompts, ambiguous = first_prompts(masks)
    total, _ = PromptLoss()(plain(batch["image"], index, prompts), masks, ambiguous)
    (total / len(masks)).backward()
    for (name, one), other in zip(net.named_parameters(), plain.parameters(), strict=True):
        expected = torch.zeros_like(one) if other.grad is None else other.grad
        met = torch.zeros_like(one) if one.grad is None else one.grad
        torch.testing.assert_close(met, expected, atol=1e-4, rtol=1e-3, msg=name)


def test_every_part_learns_when_answers_are_corrected(batch):
    net = network()
    made = step(net, batch, rounds=2, box_share=0.5, chunk=2)
    without = {name for name, value in net.named_parameters() if value.grad is None}
    assert not without
    assert set(made.loss.terms) == {"total", "focal", "dice", "quality", "iou", "first_iou"}


def test_the_helper_reaches_the_encoder_alone(batch):
    with_helper, without = network(), network()
    helper = OutlineHelper()
    for net, own in ((with_helper, helper), (without, None)):
        torch.manual_seed(3)
        made = step(net, batch, rounds=0, helper=own)
    assert "outlines" not in made.loss.terms
    assert helper.project.weight.grad.any()
    grads = zip(with_helper.named_parameters(), without.parameters(), strict=True)
    differ = {
        name.split(".")[0] for (name, a), b in grads if a.grad is not None and not torch.equal(a.grad, b.grad)
    }
    assert differ == {"image_encoder"}


def test_the_loss_falls(batch):
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, betas=(0.9, 0.95))
    made = PromptStep(net, optimizer, PromptLoss(), rounds=0)
    losses = [float(made(ENGINE, batch)["loss"]) for _ in range(12)]
    assert losses[-1] < 0.5 * losses[0]


def test_an_ambiguous_prompt_gets_the_mask_rated_highest():
    logits = torch.arange(4.0).view(1, 4, 1, 1).expand(2, 4, 8, 8)
    answers = PromptedMasks(logits, torch.tensor([[9.0, 0.1, 0.7, 0.3]] * 2))
    assert settled(answers, torch.tensor([True, False]))[:, 0, 0, 0].tolist() == [2, 0]


def test_the_centre_is_the_place_farthest_from_the_border():
    masks = torch.zeros(2, 32, 32, dtype=torch.bool)
    masks[0, 4:17, 6:19] = True
    masks[1, :9, 20:] = True  # cut at two edges of the image
    assert centres(masks)[0].tolist() == [12, 10]
    x, y = centres(masks)[1].long().tolist()
    assert binary_erosion(masks[1].numpy(), iterations=4)[y, x]


def test_validation_scores_and_draws(batch, tmp_path):
    engine = Engine(PromptValidation(network()))
    engine.state.device = torch.device("cpu")
    PromptScores().attach(engine)
    PromptPictures(tmp_path, max_pictures=3).attach(engine)
    engine.run([batch, batch], max_epochs=1)
    output, metrics = engine.state.output, engine.state.metrics
    assert output["point_mask"].shape == output["box_mask"].shape == (3, 64, 64)
    truth = objects(batch["label"])[1]
    for kind in ("point", "box"):
        mask = output[f"{kind}_mask"]
        iou = (mask & truth).sum(dim=(1, 2)) / (mask | truth).sum(dim=(1, 2))
        torch.testing.assert_close(output[f"{kind}_iou"], iou)
        assert metrics[f"{kind}_iou"] == pytest.approx(iou.median().item())
    assert (output["best_point_iou"] >= output["point_iou"]).all()
    assert metrics["prompt_iou"] == pytest.approx((metrics["point_iou"] + metrics["box_iou"]) / 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{n}_epoch001.png" for n in (1, 2, 3)]
    from PIL import Image

    assert np.asarray(Image.open(tmp_path / "1_epoch001.png")).std() > 10


@pytest.fixture
def masks() -> torch.Tensor:
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 3:7, 10:25] = True
    masks[1, 19, 0] = True
    return masks


def at(masks: torch.Tensor, points: torch.Tensor) -> list[bool]:
    return [bool(mask[int(y), int(x)]) for mask, (x, y) in zip(masks, points, strict=True)]


def test_every_pixel_of_a_mask_is_drawn_and_no_other(masks):
    torch.manual_seed(0)
    drawn = torch.stack([random_pixel(masks) for _ in range(600)])
    assert len({tuple(point.tolist()) for point in drawn[:, 0]}) == 60
    assert all(at(masks, points) == [True, True] for points in drawn)


def test_boxes_reach_from_the_first_to_the_last_pixel(masks):
    assert bounding_boxes(masks).tolist() == [[[10, 3], [24, 6]], [[0, 19], [0, 19]]]


def test_jitter_is_a_tenth_of_the_side_and_stays_in_the_image():
    torch.manual_seed(0)
    boxes = torch.tensor([[100.0, 200.0], [199.0, 219.0]]).expand(4000, 2, 2)
    moved = jittered(boxes, (256, 256)) - boxes
    assert moved.abs().max() <= 20
    assert moved[:, 0, 0].std().item() == pytest.approx(10, rel=0.08)
    assert moved[:, 0, 1].std().item() == pytest.approx(2, rel=0.08)
    large = jittered(torch.tensor([[[0.0, 0.0], [29.0, 19.0]]]).expand(100, 2, 2), (20, 30))
    assert large.amin() >= 0
    assert (large[:, 1] <= torch.tensor([29, 19])).all()
    assert (large[:, 0] <= large[:, 1]).all()


def test_first_prompts_are_points_inside_or_boxes(masks):
    torch.manual_seed(1)
    many = masks[:1].expand(200, -1, -1)
    prompts, ambiguous = first_prompts(many, box_share=0.25)
    assert 0.15 < 1 - ambiguous.float().mean() < 0.35
    assert (prompts.labels[ambiguous] == torch.tensor([1, -1])).all()
    assert (prompts.labels[~ambiguous] == torch.tensor([2, 3])).all()
    assert all(at(many[ambiguous], prompts.points[ambiguous, 0]))


def test_corrections_say_what_is_missing_and_what_is_too_much(masks):
    truth = masks[:1].expand(3, -1, -1)
    answer = truth.clone()
    answer[0, :, 15:] = False  # too little
    answer[1, 0:2] = True  # too much
    logits = torch.randn(3, 1, 5, 7)
    prompts = corrected(point_prompts(torch.tensor([[12.0, 4.0]] * 3)), answer, truth, logits)
    assert prompts.labels[:, 2].tolist() == [1, 0, 1]
    assert prompts.points[0, 2, 0] >= 15
    assert prompts.points[1, 2, 1] < 2
    assert at(truth, prompts.points[:, 2]) == [True, False, True]
    assert prompts.mask is logits


def test_a_box_stays_with_its_corrections(masks):
    boxes = box_prompts(bounding_boxes(masks))
    prompts = corrected(boxes, torch.zeros_like(masks), masks, torch.zeros(2, 1, 5, 7))
    assert isinstance(prompts, Prompts)
    assert prompts.labels.tolist() == [[2, 3, 1], [2, 3, 1]]
    assert torch.equal(prompts.points[:, :2], boxes.points)


def test_outlines_lie_where_the_object_changes():
    ids = np.zeros((6, 6), dtype=int)
    ids[2:4, 1:5], ids[4:, 1:5] = 3, 8
    outlines, insides = outlines_and_insides(ids).numpy()
    assert outlines[3, 2]  # between two objects
    assert outlines[1, 2]  # before an object
    assert outlines[2, 0]
    assert outlines[2, 4]
    assert not outlines[2, 2]
    assert not outlines[0, 0]
    assert np.array_equal(insides, ids > 0)


def test_a_perfect_drawing_costs_nothing_and_each_patch_draws_its_own_cells():
    helper = OutlineHelper(weight=1.0)
    regions = torch.zeros(1, 2, 32, 48, dtype=torch.uint8)
    regions[0, 0, 5, 20] = 1  # one outline pixel, patch (0, 1), cell (1, 1) of it
    regions[0, 1, 16:20, 0:4] = 1  # one cell inside, patch (1, 0), cell (0, 0) of it
    embedding = torch.zeros(1, 256, 2, 3)
    embedding[0, 0], embedding[0, 1, 0, 1], embedding[0, 2, 1, 0] = 1.0, 1.0, 1.0
    with torch.no_grad():
        helper.project.weight.zero_()
        helper.project.bias.zero_()
        helper.project.weight[:, 0] = -20.0
        helper.project.weight[1 * 4 + 1, 1] = 40.0
        helper.project.weight[16, 2] = 40.0
    assert helper(embedding, regions).item() == pytest.approx(0, abs=1e-6)
    assert helper(embedding.flip(2), regions).item() > 0.1


def test_the_weight_scales_the_loss():
    torch.manual_seed(0)
    embedding, regions = torch.randn(1, 256, 2, 2), torch.zeros(1, 2, 32, 32, dtype=torch.uint8)
    one, three = OutlineHelper(1.0), OutlineHelper(3.0)
    three.load_state_dict(one.state_dict())
    torch.testing.assert_close(three(embedding, regions), 3 * one(embedding, regions))
