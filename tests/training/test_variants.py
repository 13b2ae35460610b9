from __future__ import annotations

import pytest

from scsam_monai.errors import InputError
from scsam_monai.training.variants import Variants


def test_successive_epochs_show_each_picture_once_before_any_comes_again() -> None:
    variants = Variants(3, (1.0, 1.5), seed=1)
    assert variants.count == 6
    for index in range(20):
        first, second = (
            [variants.shown(index, epoch) for epoch in range(start, start + 6)] for start in (0, 6)
        )
        assert first == second
        assert len(set(first)) == len({variant.number for variant in first}) == 6
        assert len({variant.view for variant in first}) == 3
        assert {variant.zoom for variant in first} == {1.0, 1.5}


def test_a_number_of_views_is_drawn_for_each_crop() -> None:
    variants = Variants(2)
    drawn = {variant.view for index in range(50) for variant in variants.of(index)}
    assert drawn == set(range(8))
    assert len({tuple(sorted(v.view for v in variants.of(index))) for index in range(50)}) > 10


def test_a_list_of_views_serves_all_crops() -> None:
    variants = Variants([0, 4])
    assert all({v.view for v in variants.of(index)} == {0, 4} for index in range(10))


def test_each_epoch_shows_all_views_somewhere() -> None:
    variants = Variants("d4")
    counts = [0] * 8
    for index in range(800):
        counts[variants.shown(index, epoch=3).view] += 1
    assert min(counts) > 60


def test_order_follows_from_seed_and_index() -> None:
    assert Variants(seed=1).of(3) == Variants(seed=1).of(3)
    assert any(Variants(seed=1).of(index) != Variants(seed=2).of(index) for index in range(5))


@pytest.mark.parametrize("views", ["d8", 0, 9, True, [], [0, 0], [8]])
def test_impossible_views_are_refused(views: object) -> None:
    with pytest.raises(InputError, match="views: expected one of d4, none"):
        Variants(views)  # type: ignore[arg-type]


@pytest.mark.parametrize("zooms", [[], [1.0, 1.0], [0.1], [5.0]])
def test_impossible_zooms_are_refused(zooms: list[float]) -> None:
    with pytest.raises(InputError, match="zooms: expected different factors"):
        Variants("d4", zooms)
