import numpy as np
import pytest

from scsam_monai.data.sharding import COUNTED_ELSEWHERE, shard_items
from scsam_monai.io import write_stack


@pytest.fixture
def items(tmp_path):
    write_stack(tmp_path / "a.tif", np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3), (1, 1, 1))
    whole = {"image": str(tmp_path / "a.tif"), "label": "unused"}
    return [whole, {**whole, "region": [[1, 3], [0, 4], [0, 3]]}]


def sections(share):
    return [
        (item["image"], z, item is not share)
        for item in share
        for z in range(*(item.get("region") or [[0, 5]])[0])
    ]


@pytest.mark.parametrize("world_size", range(1, 8))
def test_every_section_is_scored_exactly_once(items, world_size):
    shares = [shard_items(items, rank, world_size) for rank in range(world_size)]
    assert all(shares)
    assert sorted(z for share in shares for _, z, _ in sections(share)) == [0, 1, 1, 2, 2, 3, 4]


def test_one_process_keeps_the_items_as_they_are(items):
    assert shard_items(items, 0, 1) == items


def test_nothing_to_share(items):
    assert shard_items([], 1, 2) == []


def test_processes_beyond_the_sections_run_one_that_is_not_counted(items):
    shares = [shard_items(items, rank, 9) for rank in range(9)]
    counted = [share for share in shares if not any(COUNTED_ELSEWHERE in item for item in share)]
    assert sorted(z for share in counted for _, z, _ in sections(share)) == [0, 1, 1, 2, 2, 3, 4]
    assert (
        shares[7] == shares[8] == [{**items[0], "region": [[0, 1], [0, 4], [0, 3]], COUNTED_ELSEWHERE: True}]
    )


def test_an_image_of_one_section_serves_as_company(tmp_path):
    write_stack(tmp_path / "one.tif", np.zeros((1, 4, 3), dtype=np.uint8), (1, 1, 1))
    items = [{"image": str(tmp_path / "one.tif"), "label": "unused"}]
    assert shard_items(items, 0, 2) == items
    assert shard_items(items, 1, 2) == [{**items[0], COUNTED_ELSEWHERE: True}]
