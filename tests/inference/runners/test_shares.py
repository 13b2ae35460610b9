from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsam_monai.errors import InputError
from scsam_monai.inference.runners import RUNNERS, Shard, get_runner, run_dask, run_serial


@given(n_blocks=st.integers(0, 500), count=st.integers(1, 60))
def test_shards_cover_every_block_once(n_blocks: int, count: int) -> None:
    shares = [Shard(index, count).take(range(n_blocks)) for index in range(count)]
    assert [block for share in shares for block in share] == list(range(n_blocks))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_people_count_from_one() -> None:
    assert Shard.parse("2/8") == Shard(1, 8)
    assert str(Shard(1, 8)) == "2/8"
    assert Shard.parse(" 1 / 1 ") == Shard()
    assert pickle.loads(pickle.dumps(Shard(1, 8))) == Shard(1, 8)


@pytest.mark.parametrize("text", ["", "2", "0/8", "9/8", "1/0", "-1/8", "a/b", "1/8/2", "1.0/8", "/"])
def test_other_shards_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="--shard: expected which of how many, like 2/8"):
        Shard.parse(text)


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_impossible_shards_are_refused(index: int, count: int) -> None:
    with pytest.raises(InputError, match="--shard"):
        Shard(index, count)


def test_runners_by_name() -> None:
    assert {"serial": run_serial, "dask": run_dask} == RUNNERS
    assert get_runner("serial") is run_serial
    with pytest.raises(InputError, match="one of serial, dask"):
        get_runner("slurm")
