"""The promptable SAM against segment-anything's own prompt encoder and mask decoder."""

from __future__ import annotations

import pytest
import torch

from scsam_monai.errors import InputError
from scsam_monai.networks.prompt_window import Prompts, window_around
from scsam_monai.networks.promptable_sam import OUTSIDE, PromptableSAM

GRID = (4, 6)
SIZE = (64, 96)


@pytest.fixture(scope="module")
def sam() -> PromptableSAM:
    torch.manual_seed(0)
    return PromptableSAM("vit_t", chunk=2).eval()


@pytest.fixture(scope="module")
def embedding() -> torch.Tensor:
    return torch.randn(2, 256, *GRID, generator=torch.Generator().manual_seed(1))


def stock(sam, embedding, points=None, boxes=None, masks=None):
    """What segment-anything computes for the prompts of one image."""
    encoder = sam.prompt_encoder
    encoder.input_image_size, encoder.image_embedding_size = SIZE, GRID
    sparse, dense = encoder(points, boxes, masks)
    return sam.mask_decoder.predict_masks(embedding, encoder.get_dense_pe(), sparse, dense)


@torch.no_grad()
@pytest.mark.parametrize("with_mask", [False, True])
def test_points_of_two_images_equal_the_stock_loop(sam, embedding, with_mask):
    points = torch.tensor([[[10.0, 20.0], [90.0, 3.0]], [[0.0, 0.0], [5.0, 60.0]], [[40.0, 9.0], [1.0, 2.0]]])
    labels = torch.tensor([[1, 0], [1, 1], [1, 0]])
    masks = torch.randn(3, 1, 16, 24) if with_mask else None
    index = torch.tensor([1, 0, 1])
    padded = torch.cat([points, torch.zeros(3, 1, 2)], dim=1), torch.cat([labels, -torch.ones(3, 1)], dim=1)
    answers = sam.decode(embedding, index, Prompts(padded[0], padded[1].long(), masks))
    for number, image in enumerate(index):
        own = slice(number, number + 1)
        prompt = (points[own], labels[own])
        mask = None if masks is None else masks[own]
        logits, quality = stock(sam, embedding[image : image + 1], prompt, masks=mask)
        torch.testing.assert_close(answers.logits[own], logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(answers.quality[own], quality, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_boxes_with_points_equal_the_stock_decoder(sam, embedding):
    point, label, box = (
        torch.tensor([[[7.0, 8.0]]]),
        torch.tensor([[0]]),
        torch.tensor([[3.0, 4.0, 50.0, 60.0]]),
    )
    together = Prompts(torch.cat([point, box.view(1, 2, 2)], dim=1), torch.tensor([[0, 2, 3]]))
    answers = sam.decode(embedding, torch.tensor([0]), together)
    logits, quality = stock(sam, embedding[:1], (point, label), box)
    torch.testing.assert_close(answers.logits, logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(answers.quality, quality, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_chunks_change_nothing(sam, embedding):
    points, labels = torch.rand(5, 1, 2) * 60, torch.ones(5, 1, dtype=torch.long)
    index, prompts = torch.tensor([0, 1, 1, 0, 1]), Prompts(points, labels)
    whole = PromptableSAM("vit_t", chunk=0)
    whole.load_state_dict(sam.state_dict())
    torch.testing.assert_close(
        sam.decode(embedding, index, prompts).logits, whole.decode(embedding, index, prompts).logits
    )


@torch.no_grad()
def test_untrained_attention_tells_a_near_place_from_a_far_one(sam):
    """Image features near a point attend to it more than those far away, before any training."""
    attention = sam.mask_decoder.transformer.layers[0].cross_attn_image_to_token
    layer = sam.prompt_encoder.pe_layer
    place = layer.forward_with_coords(torch.tensor([[[40.5, 40.5]]]), (256, 256))
    grid = layer((16, 16)).flatten(1).T
    weight = attention.q_proj(grid) @ attention.k_proj(place)[0, 0]
    assert weight.argmax() == 2 * 16 + 2
    assert weight.max() > 4 * weight.view(16, 16)[12:, 12:].abs().mean()


@torch.no_grad()
def test_untrained_masks_are_empty_and_the_image_shows_in_the_embedding(sam):
    embedding = sam.encode(torch.rand(2, 1, 256, 256))
    answers = sam.decode(embedding, torch.tensor([0, 1]), Prompts(torch.rand(2, 1, 2), torch.ones(2, 1)))
    assert (answers.logits.mean(dim=(0, 2, 3)) < -3).all()
    assert embedding.std(dim=(2, 3)).mean() > 0.4


@pytest.mark.parametrize("size", [(300, 200), (60, 90), (256, 256)])
def test_prompts_an_image_of_any_size(sam, size):
    image = torch.rand(*size)
    by_point = sam.predict(image, points=torch.tensor([[30, 20]]))
    by_box = sam.predict(image, box=torch.tensor([3, 4, 50, 40]))
    again = sam.predict(image, torch.tensor([[30, 20], [1, 1]]), torch.tensor([1, 0]), mask=by_point.logits)
    for answer in (by_point, by_box, again):
        assert answer.mask.shape == answer.logits.shape == size
        assert answer.mask.dtype == torch.bool
        assert torch.equal(answer.mask, answer.logits > 0)
        assert isinstance(answer.score, float)


def test_looks_at_a_square_around_the_prompts(sam):
    answer = sam.predict(torch.rand(400, 500), points=torch.tensor([[300, 200]]))
    seen = (answer.logits > OUTSIDE).nonzero()
    assert seen.amin(dim=0).tolist() == [72, 172]
    assert seen.amax(dim=0).tolist() == [327, 427]


def test_a_large_box_is_shown_whole():
    prompt = Prompts(torch.tensor([[[10.0, 20.0], [409.0, 300.0]]]), torch.tensor([[2, 3]]))
    window = window_around(prompt, (1000, 1000))
    assert window.side == round(1.5 * 399)
    assert (window.top, window.left) == (0, 0)


@torch.no_grad()
def test_prompt_in_a_large_image_equals_the_same_prompt_in_the_crop(sam):
    image = torch.rand(500, 600)
    whole = sam.predict(image, points=torch.tensor([[300, 200]]))
    crop = sam.predict(image[72:328, 172:428], points=torch.tensor([[128, 128]]))
    torch.testing.assert_close(whole.logits[72:328, 172:428], crop.logits, atol=1e-4, rtol=1e-4)
    assert whole.score == pytest.approx(crop.score, abs=1e-4)


@pytest.mark.parametrize(
    ("prompt", "where"),
    [
        ({}, "prompt"),
        ({"points": [[70, 5]]}, "prompt"),
        ({"points": [[-3, 5]]}, "prompt"),
        ({"points": [5, 6]}, "points"),
        ({"points": [[5, 6]], "labels": [2]}, "labels"),
        ({"points": [[5, 6]], "labels": [1, 0]}, "labels"),
        ({"labels": [1], "box": [1, 1, 5, 5]}, "labels"),
        ({"box": [9, 9, 3, 12]}, "box"),
        ({"box": [1, 2, 3]}, "box"),
        ({"points": [[5, 6]], "mask": [[0.0, 1.0]]}, "mask"),
    ],
)
def test_refuses_prompts_that_do_not_fit(sam, prompt, where):
    with pytest.raises(InputError) as error:
        sam.predict(torch.rand(64, 48), **{name: torch.tensor(value) for name, value in prompt.items()})
    assert error.value.where == where


@pytest.mark.parametrize(
    "image", [torch.rand(1, 8, 8), torch.full((8, 8), 7.0), torch.full((8, 8), torch.nan)]
)
def test_refuses_what_is_no_grey_image(sam, image):
    with pytest.raises(InputError, match="image: expected"):
        sam.predict(image, points=torch.tensor([[1, 1]]))
