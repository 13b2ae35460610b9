"""Margins are shown in training and change nothing in predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, RandGaussianNoised

from scsam_monai.data.margins import LeaveOutEmptyd, PutBackEmptyd, RandMarginsd
from scsam_monai.data.transforms import ScaleByPercentilesd
from scsam_monai.errors import InputError
from scsam_monai.io.intensity import intensity_range, normalise

VOLUME = np.random.default_rng(0).integers(1, 255, (3, 80, 60)).astype(np.float32)


def crop() -> dict[str, torch.Tensor]:
    return {"image": torch.full((1, 64, 64), 0.37), "label": torch.full((1, 64, 64), 3)}


def test_margins_are_flat_and_background() -> None:
    margins = RandMarginsd(prob=1.0, widest=0.4)
    greys, one_sided, widths = set(), 0, set()
    for seed in range(60):
        shown = margins.set_random_state(seed=seed)(crop())
        blank = shown["label"][0] == 0
        assert blank.any()
        assert set(shown["label"].unique().tolist()) <= {0, 3}
        (grey,) = shown["image"][0][blank].unique().tolist()
        assert (shown["image"][0][~blank] == crop()["image"][0][0, 0]).all()
        rows, columns = (~blank).any(1), (~blank).any(0)
        assert blank.logical_not().sum() == rows.sum() * columns.sum()  # what is left is a rectangle
        sides = [int(ends) for lines in (rows, columns) for ends in (not lines[0], not lines[-1])]
        one_sided += sum(sides) == 1
        greys.add("black" if grey == 0 else "white" if grey == 1 else "grey")
        widths.add(int(rows.sum()))
    assert greys == {"black", "white", "grey"}
    assert 15 < one_sided < 45
    assert min(widths) >= 64 * 0.2 - 2
    assert len(widths) > 15


def test_no_margins_are_shown_by_default_and_other_draws_stay_the_same() -> None:
    noise = RandGaussianNoised("image", prob=1.0, std=0.1)
    alone = Compose([noise]).set_random_state(seed=4)(crop())
    beside = Compose([noise, RandMarginsd()]).set_random_state(seed=4)(crop())
    assert torch.equal(torch.as_tensor(alone["image"]), torch.as_tensor(beside["image"]))
    assert (beside["label"] == 3).all()
    shown = [
        Compose([noise, RandMarginsd(prob=1.0)]).set_random_state(seed=4)(crop())["label"] for _ in range(2)
    ]
    assert torch.equal(*shown)  # the same view in every epoch, as a cache of it asks for


@pytest.mark.parametrize("options", [{"prob": 1.5}, {"prob": 1.0, "widest": 0.7}])
def test_margins_that_cannot_be_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match="margins"):
        RandMarginsd(**options)


def item(volume: np.ndarray) -> dict[str, MetaTensor]:
    tensor = torch.from_numpy(np.ascontiguousarray(volume.T[None]))
    return {"image": MetaTensor(tensor, meta={"filename_or_obj": "cell.tif"})}


@pytest.mark.parametrize("value", [0.0, np.nan])
@pytest.mark.parametrize("ndim", [2, 3])
def test_what_is_left_is_the_image_without_its_frame(
    value: float, ndim: int, caplog: pytest.LogCaptureFixture
) -> None:
    plain = VOLUME if ndim == 3 else VOLUME[0]
    framed = np.pad(VOLUME, ((0, 0), (30, 12), (9, 40)), constant_values=value)
    pipeline = Compose([LeaveOutEmptyd(), ScaleByPercentilesd("image")])
    left, expected = pipeline(item(framed if ndim == 3 else framed[0])), pipeline(item(plain))
    assert torch.equal(left["image"], expected["image"])
    assert left["image"].meta["filename_or_obj"] == "cell.tif"
    assert "cell.tif: 6" in caplog.text
    assert "% of the image is empty" in caplog.text
    left["pred"] = (left["image"] > 0.5).to(torch.uint8) + 1
    back = PutBackEmptyd(["pred", "image"])(left)
    assert (
        back["pred"].shape == back["image"].shape == item(framed if ndim == 3 else framed[0])["image"].shape
    )
    inner = back["pred"][:, 9:69, 30:110]
    assert inner.min() > 0
    assert back["pred"].count_nonzero() == inner.numel()


def test_what_is_filled_in_does_not_count_for_the_percentiles() -> None:
    tilted = np.repeat(VOLUME, 2, axis=2)
    for z in range(3):
        tilted[z, : 20 + 8 * z] = 0
    tilted[2, 36, :80] = 2000  # too few to count, unless they are mirrored into what is empty beside them
    low, high = intensity_range(tilted)
    assert high < 255
    left = Compose([LeaveOutEmptyd(), ScaleByPercentilesd("image")])(item(tilted))
    expected = normalise(tilted, low, high)[2, 39:]
    assert np.array_equal(np.asarray(left["image"][0]).T[2, -len(expected) :], expected)
    assert set(left) == {"image", "empty", "content_bounds"}


def test_an_image_without_margins_stays_as_it_is() -> None:
    kept = LeaveOutEmptyd()(item(VOLUME))
    assert torch.equal(kept["image"], item(VOLUME)["image"])
    kept["pred"] = torch.ones_like(kept["image"])
    assert (PutBackEmptyd("pred")(kept)["pred"] == 1).all()
