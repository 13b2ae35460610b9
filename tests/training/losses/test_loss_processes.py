"""The loss of a batch that two processes share, and its gradient, are those of the whole batch in one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from scsam_monai.networks.scsam import ScSAMOutput
from scsam_monai.training.distributed import sum_over_processes
from scsam_monai.training.losses import ScSAMLoss, SegmentationLoss
from tests.two_processes import needs_fork, run_in_two


class Toy(nn.Module):
    """Something with all that the losses look at."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.logits, self.similarity = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(5, 3, 1)
        self.sam, self.mae = nn.Conv2d(1, 5, 4, stride=4), nn.Conv2d(1, 5, 4, stride=4)
        self.prototypes = nn.Parameter(torch.randn(3, 2, 5))

    def forward(self, image: Tensor) -> ScSAMOutput:
        sam = self.sam(image)
        return ScSAMOutput(
            self.logits(image),
            self.similarity(sam),
            {"sam": sam, "mae": self.mae(image)},
            sam,
            self.prototypes,
        )


def batch() -> tuple[Tensor, dict[str, Tensor]]:
    """Four crops: class 2 is in the first alone, the second is unknown, the third lacks a class's annotation."""
    torch.manual_seed(1)
    image, label = torch.rand(4, 1, 8, 8), torch.randint(0, 2, (4, 1, 8, 8))
    label[0, 0, 0, :3] = 2
    label[1] = 255
    label[3, 0, :, :5] = 255
    annotated = torch.ones(4, 3, dtype=torch.bool)
    annotated[2, 1] = False
    return image, {"label": label, "annotated": annotated}


def step(network: nn.Module, share: slice, shared: bool) -> tuple[float, dict[str, Tensor]]:
    image, target = batch()
    loss = ScSAMLoss(SegmentationLoss(class_weights=[1, 2, 5]))
    model = DistributedDataParallel(network) if shared else network
    total = loss(model(image[share]), {name: value[share] for name, value in target.items()})
    total.backward()
    return float(total.detach()), {name: value.grad for name, value in network.named_parameters()}


def share_of(rank: int, first: int) -> Any:
    return step(Toy(), slice(0, first) if rank == 0 else slice(first, 4), shared=True)


@needs_fork
@pytest.mark.parametrize("first", [1, 2, 3])
def test_two_shares_are_one_batch(first, tmp_path) -> None:
    whole, gradients = step(Toy(), slice(None), shared=False)
    for total, shared in run_in_two(share_of, tmp_path, first):
        assert total == pytest.approx(whole, abs=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(shared[name], gradient, atol=1e-6, rtol=1e-5)


def add_up(rank: int) -> tuple[Tensor, Tensor]:
    own = torch.tensor([1.0 + rank, 5.0], requires_grad=True)
    total = sum_over_processes(own)
    total.sum().backward()
    return total.detach(), own.grad


@needs_fork
def test_sums_and_counts_the_gradient_for_the_mean(tmp_path) -> None:
    for total, gradient in run_in_two(add_up, tmp_path):
        assert total.tolist() == [3, 10]
        assert gradient.tolist() == [2, 2]


def test_one_process_gets_its_own() -> None:
    own = torch.ones(2, requires_grad=True)
    assert sum_over_processes(own) is own
