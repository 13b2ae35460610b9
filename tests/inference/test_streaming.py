from __future__ import annotations

import gc
import itertools
import time

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.inferers import SlidingWindowInferer
from streamed import K, draw, network, volume
from torch import Tensor

from scsam_monai.errors import InputError
from scsam_monai.inference import SliceWiseInferer
from scsam_monai.inference.blocks import BlockPlan, block_shape
from scsam_monai.inference.products import Product
from scsam_monai.inference.streaming import Stream
from scsam_monai.inference.windows import Windows
from scsam_monai.io import ArrayVolume

ALL = tuple(Product)


@pytest.mark.parametrize("shape", [(5, 90, 70), (1, 33, 200), (9, 20, 40), (2, 32, 32)])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_equals_monai(shape: tuple[int, int, int], batch: int) -> None:
    grey = volume(*shape)
    windows = Windows(size=32, overlap=0.5, batch=batch)
    drawn = draw(grey, windows=windows)
    inferer = SlidingWindowInferer((32, 32), 3, 0.5, mode="gaussian", padding_mode="replicate")
    with torch.no_grad():
        for z, section in enumerate(grey):
            logits = inferer(torch.from_numpy(section)[None, None].float() / 255, network)[0]
            two = logits.topk(2, dim=0).values
            clear = (two[0] - two[1] > 1e-4).numpy()
            assert (drawn[Product.LABELS][z] == logits.argmax(dim=0).numpy())[clear].all()
            difference = drawn[Product.PROBABILITIES][:, z] / 255 - torch.softmax(logits, dim=0).numpy()
            assert abs(difference).max() <= 0.5 / 255 + 1e-5


@pytest.mark.parametrize("factor", [0.4, 0.8, 1.7])
def test_equals_the_inferer_of_slices_where_it_resamples(factor: float) -> None:
    grey = volume(3, 80, 60)

    class Sized(torch.nn.Module):
        pixel_size_nm = torch.tensor(10.0)

        def forward(self, windows: Tensor) -> Tensor:
            return network(windows)

    drawn = draw(grey, factors=(1, factor, factor))
    inferer = SliceWiseInferer(32, 3, 0.3, voxel_size_nm=(10, 10 * factor, 10 * factor), argmax=False)
    stack = torch.from_numpy(grey).float().permute(2, 1, 0)[None, None] / 255
    with torch.no_grad():
        logits = inferer(stack, Sized())[0].permute(0, 3, 2, 1)
    two = logits.topk(2, dim=0).values
    clear = (two[0] - two[1] > 1e-4).numpy()
    assert clear.mean() > 0.99
    assert (drawn[Product.LABELS] == logits.argmax(dim=0).numpy())[clear].all()


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 9), st.integers(5, 90), st.integers(5, 90)),
    st.tuples(st.integers(1, 9), st.integers(5, 60), st.integers(5, 60)),
    st.sampled_from([0.5, 1.0, 1.6]),
    st.sampled_from([1, 3]),
    st.integers(1, 5),
)
def test_blocks_equal_one_piece_to_the_last_bit(
    shape: tuple[int, ...], block: tuple[int, ...], factor: float, planes: int, batch: int
) -> None:
    grey = volume(*shape)
    windows = Windows(size=32, overlap=0.3, batch=batch, planes=planes)
    products = ALL if planes == 3 else ALL[:3]
    whole = draw(grey, None, windows, (factor,) * 3, products)
    parts = draw(grey, block, windows, (factor,) * 3, products)
    assert whole.keys() == parts.keys() == set(products)
    for product in products:
        assert np.array_equal(whole[product], parts[product])


@pytest.mark.parametrize("planes", [1, 3])
def test_a_constant_volume_shows_no_seam(planes: int) -> None:
    grey = np.full((40, 90, 80), 77, np.uint8)

    def flat(windows: Tensor) -> Tensor:
        return torch.cat([windows, 0.301 - 0.0 * windows], dim=1)  # 77 / 255 is a hair above 0.301

    drawn = draw(grey, (16, 32, 32), Windows(size=32, overlap=0.3, planes=planes), net=flat)
    assert (drawn[Product.LABELS] == 0).all()
    assert len(np.unique(drawn[Product.PROBABILITIES][0])) == 1


def test_three_planes_average_what_each_shows() -> None:
    grey = volume(40, 40, 40)
    windows = Windows(size=64, overlap=0.25)  # one window holds a section
    seen = [
        draw(grey.transpose(order), windows=windows)[Product.PROBABILITIES].transpose(
            0, *(1 + np.argsort(order))
        )
        for order in ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    ]
    drawn = draw(grey, windows=Windows(size=64, planes=3), products=ALL)
    mean = np.mean(seen, axis=0) / 255
    assert abs(drawn[Product.PROBABILITIES] / 255 - mean).max() < 1.01 / 255
    clear = np.diff(np.sort(mean, axis=0)[-2:], axis=0)[0] > 3 / 255
    assert (drawn[Product.LABELS] == mean.argmax(axis=0))[clear].all()
    own = sum((plane.argmax(axis=0) != drawn[Product.LABELS]).astype(int) for plane in seen)
    assert (own == drawn[Product.DISAGREEMENT]).mean() > 0.98  # bytes tie where logits do not
    assert set(np.unique(drawn[Product.DISAGREEMENT])) <= {0, 1, 2, 3}


def test_confidence_is_the_probability_of_the_class_drawn() -> None:
    drawn = draw(volume(3, 40, 40))
    picked = np.take_along_axis(drawn[Product.PROBABILITIES], drawn[Product.LABELS][None], axis=0)[0]
    assert np.array_equal(picked, drawn[Product.CONFIDENCE])


def test_every_call_of_the_network_has_the_same_shape() -> None:
    shapes = set()

    def noting(windows: Tensor) -> Tensor:
        shapes.add(tuple(windows.shape))
        return network(windows)

    draw(volume(7, 90, 50), (4, 30, 30), Windows(size=32, batch=3), net=noting)
    assert shapes == {(3, 1, 32, 32)}


def live_bytes() -> int:
    gc.collect()
    storages = [thing.untyped_storage() for thing in gc.get_objects() if type(thing) is Tensor]
    return sum({storage.data_ptr(): storage.nbytes() for storage in storages}.values())


@pytest.mark.parametrize("size", [16, 64])
def test_tensors_do_not_grow_with_the_number_of_sections(size: int) -> None:
    """Those that a GPU would hold: grey values and logits, in windows and summed up."""
    held = []

    def noting(windows: Tensor) -> Tensor:
        held.append(live_bytes())
        return network(windows)

    before = live_bytes()
    draw(volume(size, 160, 160), (size, 160, 160), Windows(size=32, batch=32), net=noting)
    classes, depth = 3, 8
    assert max(held) - before < 2.5 * 4 * classes * depth * 160**2


def test_a_cancelled_stream_stops_and_yields_whole_blocks_only() -> None:
    grey = ArrayVolume(volume(8, 64, 64))
    plan, written = BlockPlan(grey.shape, (2, 64, 64)), []

    class Sink:
        def write(self, block: object, products: object) -> None:
            written.append(block)

    windows = Windows(size=32)
    predictors = windows.predictors(network, grey.shape, (1, 1, 1), (0, 255), "cpu")
    stream = Stream(grey, predictors, plan, Sink(), [Product.LABELS])
    finished = []
    for number in stream.run(range(4), cancel=lambda: len(finished) >= 1):
        finished.append(number)
    assert finished == [0, 1][: len(finished)] and 1 <= len(finished) < 4  # noqa: PT018
    assert len(written) == len(finished)


@pytest.mark.parametrize("fails", ["read", "network", "write"])
def test_an_error_anywhere_reaches_the_caller(fails: str) -> None:
    class Volume(ArrayVolume):
        def read(self, region: object) -> np.ndarray:
            if fails == "read":
                raise InputError("volume", expected="data", met="none", remedy="x")
            return super().read(region)

    class Sink:
        def write(self, block: object, products: object) -> None:
            if fails == "write":
                raise InputError("disk", expected="room", met="none", remedy="x")

    def broken(windows: Tensor) -> Tensor:
        return windows.mean() if fails == "network" else network(windows)

    grey = Volume(volume(4, 40, 40))
    predictors = Windows(size=32).predictors(broken, grey.shape, (1, 1, 1), (0, 255), "cpu")
    stream = Stream(grey, predictors, BlockPlan(grey.shape, (2, 40, 40)), Sink(), [Product.LABELS])
    with pytest.raises(TypeError if fails == "network" else InputError, match=r"logits|volume|disk"):
        list(stream.run(range(2)))


class BrokenError(RuntimeError):
    """What anything may raise."""


@pytest.mark.parametrize("fails", ["read", "network", "interrupt", "write"])
def test_what_was_computed_before_an_error_is_written_and_said(fails: str) -> None:
    calls, written = itertools.count(), list[object]()

    class Volume(ArrayVolume):
        def read(self, region: object) -> np.ndarray:
            if fails == "read" and region[0][0] == 4:
                raise BrokenError
            return super().read(region)

    class Sink:
        def write(self, block: object, products: object) -> None:
            if fails == "write" and block[0][0] == 4:
                raise BrokenError
            time.sleep(0.1)  # longer than a block takes to compute
            written.append(block)

    def breaking(windows: Tensor) -> Tensor:
        if next(calls) == 2 and fails in ("network", "interrupt"):
            raise BrokenError if fails == "network" else KeyboardInterrupt
        return network(windows)

    grey = Volume(volume(8, 32, 32))
    predictors = Windows(size=32, batch=2).predictors(breaking, grey.shape, (1, 1, 1), (0, 255), "cpu")
    plan, finished = BlockPlan(grey.shape, (2, 32, 32)), list[int]()  # a batch a block
    with pytest.raises(KeyboardInterrupt if fails == "interrupt" else BrokenError):
        finished.extend(Stream(grey, predictors, plan, Sink(), [Product.LABELS]).run(range(4)))
    assert finished == [0, 1]
    assert written == [plan[0], plan[1]]


def test_freed_memory_goes_back_after_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = list[int]()
    monkeypatch.setattr("scsam_monai.inference.streaming.release_freed", lambda: calls.append(1))
    draw(volume(6, 40, 40), (2, 40, 40))
    assert len(calls) == 3


def test_a_block_is_said_while_the_next_one_is_computed() -> None:
    order = list[str]()

    class Sink:
        def write(self, block: object, products: object) -> None:
            order.append("written")

    def slow(windows: Tensor) -> Tensor:
        time.sleep(0.1)
        order.append("batch")
        return network(windows)

    grey = ArrayVolume(volume(12, 32, 32))
    predictors = Windows(size=32, batch=1).predictors(slow, grey.shape, (1, 1, 1), (0, 255), "cpu")
    stream = Stream(grey, predictors, BlockPlan(grey.shape, (6, 32, 32)), Sink(), [Product.LABELS])
    for _ in stream.run(range(2)):
        order.append("said")
    assert order.index("said") < len(order) - 3  # not only once the second block's six batches are done
    assert order[-2:] == ["written", "said"]


def test_progress_ends_at_all_voxels() -> None:
    grey = ArrayVolume(volume(5, 40, 70))
    seen: list[tuple[float, float]] = []

    class Sink:
        def write(self, block: object, products: object) -> None:
            pass

    windows = Windows(size=32, planes=3)
    predictors = windows.predictors(network, grey.shape, (1, 1, 1), (0, 255), "cpu")
    plan = BlockPlan(grey.shape, (3, 30, 70))
    stream = Stream(grey, predictors, plan, Sink(), [Product.LABELS], lambda *values: seen.append(values))
    list(stream.run(range(len(plan))))
    assert seen[-1] == pytest.approx((5 * 40 * 70, 5 * 40 * 70))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@given(st.tuples(*[st.integers(1, 50)] * 3), st.tuples(*[st.integers(1, 20)] * 3))
def test_blocks_cover_the_volume_once(shape: tuple[int, ...], block: tuple[int, ...]) -> None:
    counts = np.zeros(shape, int)
    plan = BlockPlan(shape, block)
    for z, y, x in plan:
        counts[slice(*z), slice(*y), slice(*x)] += 1
    assert (counts == 1).all()
    assert len(plan) == np.prod([len(plan.spans(axis)) for axis in range(3)])


def test_blocks_are_whole_chunks_that_memory_allows() -> None:
    assert block_shape((1000, 9000, 9000), (32, 256, 256), 4, 200, 1e9) == (32, 1536, 1536)
    assert block_shape((1000, 9000, 9000), (32, 256, 256), 4, 200, 1) == (32, 256, 256)
    assert block_shape((10, 300, 100), (10, 256, 100), 4, 200, 1e9) == (10, 512, 100)
    assert block_shape((900, 900, 900), (64, 64, 64), 40, 200, 4e9) == (448, 448, 448)
    assert block_shape((100, 2000, 2000), (64, 64, 64), 40, 200, 4e9) == (128, 960, 960)
    assert block_shape((128, 2000, 2000), (64, 64, 64), 40, 200, 4e9) == (128, 832, 832)


def test_labels_have_all_classes() -> None:
    assert set(np.unique(draw(volume(3, 60, 60))[Product.LABELS])) == set(range(K))
