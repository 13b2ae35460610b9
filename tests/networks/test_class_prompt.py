from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from scsam_monai.networks.class_prompt import AnchorTokens, ClassPromptEncoder

K, M, T, C = 3, 4, 4, 256


def activation_factor(encoder: ClassPromptEncoder, features: Tensor) -> Tensor:
    """What the encoder multiplies features with, ``(B, K', C, g, g)``, seen at the bottleneck's input."""
    seen: list[Tensor] = []
    hook = encoder.bottleneck[0].register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    encoder(features)
    hook.remove()
    return seen[0].detach().unflatten(0, (-1, K)) / features.unsqueeze(1)


@pytest.mark.parametrize("visible", ["own", "all"])
@pytest.mark.parametrize("grid", [(4, 4), (3, 7), (1, 1)])
def test_shapes(visible: str, grid: tuple[int, int]) -> None:
    prompts = ClassPromptEncoder(K, visible=visible)(torch.randn(2, C, *grid))
    assert prompts.sparse.shape == (2, K, T if visible == "own" else K * T, C)
    assert prompts.dense.shape == (2, K, C, *grid)
    assert prompts.position.shape == (1, C, *grid)
    assert prompts.similarity.shape == (2, K, *grid)


def test_switched_off_prompts() -> None:
    encoder = ClassPromptEncoder(K, tokens=0, dense=False)
    prompts = encoder(torch.randn(2, C, 4, 4))
    assert prompts.sparse.shape == (2, K, 0, C)
    assert torch.equal(prompts.dense, encoder.no_mask_embed.weight.view(1, 1, C, 1, 1))


def test_dense_prompt_builds_on_the_no_mask_embedding() -> None:
    encoder, features = ClassPromptEncoder(K), torch.randn(1, C, 2, 2)
    before = encoder(features).dense
    torch.nn.init.zeros_(encoder.no_mask_embed.weight)
    after = encoder(features).dense
    assert (before - after).abs().max() > 1e-3
    assert (before - after).flatten(3).var(-1).max() < 1e-10


def test_cosine_is_bounded() -> None:
    similarity = ClassPromptEncoder(K).compare(torch.randn(2, C, 4, 4) * 100)
    assert similarity.abs().max() <= 1 + 1e-6


def test_cosine_ignores_magnitude_and_dot_does_not() -> None:
    features = torch.randn(1, C, 4, 4)
    cosine, dot = (ClassPromptEncoder(K, similarity=name) for name in ("cosine", "dot"))
    assert torch.allclose(cosine.compare(features * 7), cosine.compare(features), atol=1e-6)
    assert torch.allclose(dot.compare(features * 7), dot.compare(features) * 7, atol=1e-4)


@pytest.mark.parametrize("similarity", ["cosine", "dot"])
def test_nearest_prototype_wins(similarity: str) -> None:
    encoder = ClassPromptEncoder(K, similarity=similarity)
    for k in range(K):
        for m in range(M):
            met = encoder.compare(encoder.prototypes[k, m].detach().view(1, C, 1, 1)).flatten()
            assert met.argmax() == k
            if similarity == "cosine":
                assert met[k].item() == pytest.approx(1, abs=1e-5)


def test_similarity_is_that_of_the_nearest_prototype() -> None:
    encoder, features = ClassPromptEncoder(K), torch.randn(2, C, 2, 3)
    met = encoder.compare(features)
    for k in range(K):
        each = [F.cosine_similarity(features, p.view(1, C, 1, 1), dim=1) for p in encoder.prototypes[k]]
        assert torch.allclose(met[:, k], torch.stack(each).amax(0), atol=1e-6)


def test_similarity_keeps_full_precision_under_autocast() -> None:
    encoder, features = ClassPromptEncoder(K), torch.randn(1, C, 8, 8)
    expected = encoder.compare(features)
    with torch.autocast("cpu", torch.bfloat16):
        met = encoder.compare(features)
    assert met.dtype == torch.float32
    assert torch.allclose(met, expected, atol=1e-6)


def test_factor_follows_the_formula() -> None:
    encoder, features = ClassPromptEncoder(K), torch.rand(2, C, 3, 5) + 0.5
    similarity = encoder.compare(features).detach()
    contrast = similarity - similarity.mean(1, keepdim=True)
    expected = (1 + torch.tanh(5.0 * contrast)).unsqueeze(2).expand(-1, -1, C, -1, -1)
    assert contrast.abs().max() > 0.01
    assert torch.allclose(activation_factor(encoder, features), expected, atol=1e-5)


def test_a_direction_that_all_features_share_lifts_no_class() -> None:
    encoder = ClassPromptEncoder(K)
    shared = torch.rand(C)
    with torch.no_grad():
        encoder.prototypes.copy_(shared.expand(K, M, C))
    factor = activation_factor(encoder, shared.view(1, C, 1, 1) + 0.1)
    assert torch.allclose(factor, torch.ones_like(factor), atol=1e-5)


@pytest.mark.parametrize("alpha", [5.0, 15.0])
def test_factor_stays_positive_at_the_largest_contrast(alpha: float) -> None:
    encoder, direction = ClassPromptEncoder(K, alpha=alpha), torch.rand(C) + 0.1
    with torch.no_grad():
        encoder.prototypes.copy_(direction.expand(K, M, C))
        encoder.prototypes[0].neg_()
    factor = activation_factor(encoder, direction.view(1, C, 1, 1))
    assert (factor > 0).all()
    assert (factor <= 2).all()


def test_alpha_is_learned() -> None:
    encoder = ClassPromptEncoder(K)
    encoder(torch.randn(1, C, 4, 4)).dense.square().sum().backward()
    assert encoder.alpha.item() == 5
    assert encoder.alpha.grad.abs() > 0


def test_others_tokens_are_negative() -> None:
    anchors, tokens = AnchorTokens(T, negative=True), torch.randn(2, K, T, C)
    positive, negative = anchors.positive_embed.weight, anchors.negative_embed.weight
    seen = anchors.with_others(tokens).unflatten(2, (K, T))
    for k in range(K):
        for j in range(K):
            expected = tokens[:, j] if j == k else tokens[:, j] - positive + negative
            assert torch.allclose(seen[:, k, j], expected, atol=1e-6)


def test_own_tokens_cannot_be_shown_as_negative() -> None:
    with pytest.raises(ValueError, match="without SAM's negative point embedding"):
        AnchorTokens(T).with_others(torch.randn(1, K, T, C))


def test_all_shows_each_class_its_own_tokens_unchanged() -> None:
    own, everyone = ClassPromptEncoder(K), ClassPromptEncoder(K, visible="all")
    everyone.load_state_dict(own.state_dict(), strict=False)
    features = torch.randn(1, C, 3, 3)
    tokens, seen = own(features).sparse, everyone(features).sparse.unflatten(2, (K, T))
    for k in range(K):
        assert torch.allclose(seen[:, k, k], tokens[:, k], atol=1e-6)


def test_anchors_look_where_the_class_is_likely() -> None:
    """With a strong contrast at one position, a token is that position's value."""
    anchors = AnchorTokens(T)
    activated, contrast = torch.randn(1, K, C, 2, 2), torch.zeros(1, K, 2, 2)
    contrast[..., 1, 0] = 100
    position = torch.zeros(1, C, 2, 2)
    met = anchors(activated, contrast, position)
    value = anchors.to_value(activated[..., 1, 0]).unsqueeze(2)
    assert torch.allclose(met, value + anchors.queries + anchors.positive_embed.weight, atol=1e-5)


def test_position_is_part_of_the_tokens() -> None:
    anchors, activated, contrast = AnchorTokens(T), torch.randn(1, K, C, 2, 2), torch.zeros(1, K, 2, 2)
    a, b = (anchors(activated, contrast, torch.randn(1, C, 2, 2)) for _ in range(2))
    assert (a - b).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"similarity": "l2"}, "one of cosine, dot, met 'l2'"),
        ({"visible": "none"}, "one of own, all, met 'none'"),
    ],
)
def test_unknown_names_list_the_valid_ones(wrong: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ClassPromptEncoder(K, **wrong)


@torch.no_grad()
def test_projected_queries_equal_projected_keys() -> None:
    """The tokens as attention is written down: keys and values of all positions."""
    anchors = AnchorTokens(4, 16)
    activated, contrast = torch.randn(2, 3, 16, 5, 6), torch.randn(2, 3, 5, 6)
    position = torch.randn(1, 16, 5, 6)
    source = (activated + position.unsqueeze(1)).flatten(3).transpose(2, 3)
    scores = anchors.queries @ anchors.to_key(source).transpose(2, 3) / 4
    scores = scores + anchors.bias_scale * contrast.flatten(2).unsqueeze(2)
    expected = scores.softmax(dim=-1) @ anchors.to_value(source)
    expected = expected + anchors.queries + anchors.positive_embed.weight
    torch.testing.assert_close(anchors(activated, contrast, position), expected)
