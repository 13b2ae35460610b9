from __future__ import annotations

import logging

import pytest
import torch
import torch.nn.functional as F
from monai.data import MetaTensor, list_data_collate
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from scsam_monai.errors import InputError
from scsam_monai.inference import SliceWiseInferer

K = 3


class Network(nn.Module):
    """A convolution that notes what it is shown."""

    def __init__(self, pixel_size_nm: float | None = None) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(K, 1, 5, 3, generator=generator))
        self.seen: list[torch.Size] = []
        if pixel_size_nm is not None:
            self.register_buffer("pixel_size_nm", torch.tensor(pixel_size_nm))

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(image.shape)
        return F.conv2d(image, self.weight, padding="same")


@pytest.fixture(autouse=True)
def _no_grad():
    with torch.no_grad():
        yield


def volume(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


def sized(image: Tensor, *voxel_size_nm: float) -> MetaTensor:
    return MetaTensor(image, meta={"voxel_size_nm": list(voxel_size_nm)})


@pytest.mark.parametrize("shape", [(40, 50), (17, 90), (10, 12), (24, 24)])
def test_equals_monai_on_the_transposed_slice(shape: tuple[int, int]) -> None:
    network, stack = Network(), volume(2, 1, *shape, 3)
    settings = {"roi_size": (24, 32), "sw_batch_size": 3, "overlap": 0.5, "mode": "gaussian"}
    settings["padding_mode"] = "replicate"
    logits = SliceWiseInferer(**settings, argmax=False)(stack, network)
    labels = SliceWiseInferer(**settings)(stack, network)
    reference = SlidingWindowInferer(**settings)
    assert logits.shape == (2, K, *shape, 3)
    assert labels.shape == stack.shape
    for item in range(2):
        for z in range(3):
            expected = reference(stack[item : item + 1, ..., z].mT.contiguous(), network)[0].mT
            assert torch.equal(logits[item, ..., z], expected)
            assert torch.equal(labels[item, 0, ..., z].long(), expected.argmax(dim=0))


def test_windows_are_height_by_width() -> None:
    network = Network()
    SliceWiseInferer(roi_size=(16, -1))(volume(1, 1, 50, 20), network)
    assert set(network.seen) == {(1, 1, 16, 50)}


def test_images_give_logits_and_stacks_labels_unless_told() -> None:
    network = Network()
    image, stack = volume(1, 1, 20, 30), volume(1, 1, 20, 30, 2)
    logits = SliceWiseInferer(16)(image, network)
    assert (logits.shape, logits.dtype) == ((1, K, 20, 30), torch.float32)
    labels = SliceWiseInferer(16, argmax=True)(image, network)
    assert (labels.shape, labels.dtype) == ((1, 1, 20, 30), torch.uint8)
    assert torch.equal(labels[:, 0].long(), logits.argmax(dim=1))
    assert SliceWiseInferer(16)(stack, network).dtype == torch.uint8
    assert SliceWiseInferer(16, argmax=False)(stack, network).shape == (1, K, 20, 30, 2)


def test_meta_data_are_carried_over() -> None:
    image = MetaTensor(
        volume(1, 1, 20, 30, 2), affine=torch.diag(torch.tensor([4.0, 4, 50, 1])), meta={"name": "a"}
    )
    labels = SliceWiseInferer(16)(image, Network())
    assert isinstance(labels, MetaTensor)
    assert labels.meta["name"] == "a"
    assert torch.equal(labels.affine, image.affine)
    assert labels.meta is not image.meta


def test_integer_images_are_taken() -> None:
    stack = (255 * volume(1, 1, 20, 30, 2)).to(torch.uint8)
    network = Network()
    assert torch.equal(SliceWiseInferer(16)(stack, network), SliceWiseInferer(16)(stack.float(), network))


def test_resamples_each_axis_to_the_networks_pixels() -> None:
    network = Network(pixel_size_nm=8.0)
    image = sized(volume(1, 1, 60, 40), 50, 4, 16)
    logits = SliceWiseInferer(roi_size=-1)(image, network)
    # y: 40 pixels of 4 nm are 20 of 8 nm; x: 60 of 16 nm are 120.
    assert network.seen == [(1, 1, 20, 120)]
    assert logits.shape == (1, K, 60, 40)


def test_logits_return_to_the_grid_before_the_argmax() -> None:
    network = Network()
    image = sized(volume(1, 1, 30, 30), 4, 4, 4)
    inferer = SliceWiseInferer(roi_size=-1, pixel_size_nm=12.0, argmax=True)
    small = F.interpolate(image.as_tensor().mT, size=(10, 10), mode="bilinear", antialias=True)
    expected = F.interpolate(network(small), size=(30, 30), mode="bilinear").argmax(dim=1).mT
    assert torch.equal(inferer(image, network)[:, 0].as_subclass(Tensor).long(), expected)


def test_resampling_keeps_a_smooth_image_in_place() -> None:
    x, y = torch.meshgrid(torch.arange(64.0), torch.arange(48.0), indexing="ij")
    smooth = (torch.sin(x / 10) + torch.cos(y / 12))[None, None]
    double = SliceWiseInferer(roi_size=-1, pixel_size_nm=6.0, voxel_size_nm=(50, 4, 4))
    assert (double(smooth, lambda plane: plane * 1.0) - smooth)[..., 3:-3, 3:-3].abs().max() < 0.02


@pytest.mark.parametrize("voxel", [4.0, 4.03, 3.97])
def test_a_hundredth_is_no_difference(voxel: float) -> None:
    network = Network(pixel_size_nm=4.0)
    image = volume(1, 1, 40, 30)
    plain = SliceWiseInferer(roi_size=16)(image, Network())
    assert torch.equal(SliceWiseInferer(roi_size=16, voxel_size_nm=(voxel,) * 3)(image, network), plain)


def test_image_size_wins_over_argument_and_argument_over_network() -> None:
    network = Network(pixel_size_nm=4.0)
    inferer = SliceWiseInferer(roi_size=-1, pixel_size_nm=8.0, voxel_size_nm=(8, 8, 8))
    inferer(sized(volume(1, 1, 20, 20), 4, 4, 4), network)
    inferer(volume(1, 1, 20, 20), network)
    assert network.seen == [(1, 1, 10, 10), (1, 1, 20, 20)]


def test_items_of_a_batch_keep_their_own_size() -> None:
    network = Network(pixel_size_nm=8.0)
    batch = list_data_collate([{"image": sized(volume(1, 20, 20), 9, nm, nm)} for nm in (4.0, 8.0)])["image"]
    SliceWiseInferer(roi_size=-1)(batch, network)
    assert network.seen == [(1, 1, 10, 10), (1, 1, 20, 20)]


@pytest.mark.parametrize("unknown", [float("nan"), 0.0])
def test_unknown_pixel_size_means_no_resampling(unknown: float) -> None:
    network = Network(pixel_size_nm=unknown)
    SliceWiseInferer(roi_size=-1)(volume(1, 1, 20, 20), network)
    assert network.seen == [(1, 1, 20, 20)]


def test_finds_the_pixel_size_of_a_wrapped_network() -> None:
    network = Network(pixel_size_nm=8.0)
    SliceWiseInferer(roi_size=-1, voxel_size_nm=(4, 4))(volume(1, 1, 20, 20), nn.DataParallel(network))
    assert network.seen == [(1, 1, 10, 10)]


def test_missing_voxel_size_is_asked_for() -> None:
    with pytest.raises(InputError, match="voxel_size_nm") as error:
        SliceWiseInferer(roi_size=16)(MetaTensor(volume(1, 1, 20, 20)), Network(pixel_size_nm=4.0))
    assert "\n" not in str(error.value)


def test_warns_beyond_two_and_refuses_beyond_eight(caplog: pytest.LogCaptureFixture) -> None:
    image, network = volume(1, 1, 20, 20, 3), Network(pixel_size_nm=8.0)
    for voxel, warnings in ((4.0, 0), (3.9, 1), (64.0, 1)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            SliceWiseInferer(roi_size=-1, voxel_size_nm=(40, voxel, voxel))(image, network)
        assert len(caplog.records) == warnings
    for voxel in (0.9, 65.0):
        with pytest.raises(InputError, match="factor"):
            SliceWiseInferer(roi_size=-1, voxel_size_nm=(40, voxel, voxel))(image, network)


@pytest.mark.parametrize("size", [(4, 4, 0), (4, -1, 4), (4,), (4, float("nan"), 4)])
def test_refuses_impossible_voxel_sizes(size: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="positive"):
        SliceWiseInferer(roi_size=16, voxel_size_nm=size)(volume(1, 1, 20, 20), Network(pixel_size_nm=4.0))


@pytest.mark.parametrize("shape", [(1, 20, 20), (1, 3, 20, 20), (1, 1, 20, 20, 0)])
def test_refuses_what_is_no_grey_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="grey image"):
        SliceWiseInferer(roi_size=16)(volume(*shape), Network())


def test_refuses_networks_with_several_outputs() -> None:
    with pytest.raises(TypeError, match="one tensor"):
        SliceWiseInferer(roi_size=16)(volume(1, 1, 20, 20), lambda image: (image * 1, image * 1))


def test_progress_counts_slices() -> None:
    calls: list[tuple[int, int]] = []
    SliceWiseInferer(16, progress=lambda done, total: calls.append((done, total)))(
        volume(2, 1, 20, 20, 3), Network()
    )
    assert calls == [(done, 6) for done in range(1, 7)]


def test_arguments_reach_the_network() -> None:
    def network(image: Tensor, factor: float, *, shift: float) -> Tensor:
        return image * factor + shift

    image = volume(1, 1, 20, 20)
    torch.testing.assert_close(SliceWiseInferer(16)(image, network, 2.0, shift=1.0), image * 2 + 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 1.0}, "window overlap: expected a fraction from 0 to below 1, met 1.0"),
        ({"overlap": [0.25, -0.1]}, "window overlap: expected a fraction from 0 to below 1, met -0.1"),
        ({"sw_batch_size": 0}, "window batch: expected 1 or more, met 0"),
        ({"roi_size": 0}, "window size: expected pixels, or -1 for a whole slice, met 0"),
        ({"roi_size": [64, -5]}, "window size: expected pixels, or -1 for a whole slice"),
        ({"roi_size": 64.5}, "window size: expected pixels, or -1 for a whole slice"),
    ],
)
def test_windows_that_predict_refuses_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SliceWiseInferer(**({"roi_size": 64} | options))
