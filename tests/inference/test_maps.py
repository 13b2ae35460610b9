from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scsam_monai.inference import argmax_labels


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        "float32",
        hnp.array_shapes(min_dims=2, max_dims=4, max_side=6),
        elements=st.sampled_from([-1, 0, 0.5]),
    )
)
def test_equals_argmax_and_ties_go_to_the_lowest_class(logits) -> None:
    labels = argmax_labels(torch.from_numpy(logits))
    assert labels.dtype == torch.uint8
    # numpy documents the first of equal values, torch does not.
    assert (labels.numpy() == logits.argmax(axis=0)).all()


def test_minus_infinity_is_beaten_by_nothing_lower() -> None:
    assert argmax_labels(torch.tensor([[-torch.inf], [-torch.inf], [-3.0]])).tolist() == [2]


def test_refuses_more_classes_than_a_byte_names() -> None:
    assert argmax_labels(torch.arange(256.0)[:, None]).tolist() == [255]
    with pytest.raises(ValueError, match="256"):
        argmax_labels(torch.zeros(257, 1))
