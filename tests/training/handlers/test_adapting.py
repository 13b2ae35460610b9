"""An adaptation is watched and stopped from outside, and keeps what a model knows."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Engine

from scsam_monai.networks.skip_head import SkipHead
from scsam_monai.training.handlers import KeepPrototypes, Watch
from scsam_monai.weights.build import RANDOM, load_weights, rebuild_scsam
from scsam_monai.weights.model_file import ModelFile
from scsam_monai.weights.registry import shipped_model


def test_it_tells_the_share_of_the_budget_and_stops_when_asked() -> None:
    told, asked = [], iter([False, True])
    watch = Watch(lambda done, total: told.append((done, total)), lambda: next(asked))
    engine = Engine(lambda *_: None)
    engine.state.budget = SimpleNamespace(share=0.25)
    watch.attach(engine)
    with pytest.raises(InterruptedError, match="the same call goes on with it"):
        engine.run([0] * 5)
    assert told == [(0.25, 1.0)] * 2
    assert engine.state.iteration == 2
    assert isinstance(watch.stopped, InterruptedError)


class Prompted(torch.nn.Module):
    """What of a network the handler meets."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.prompt_encoder = torch.nn.Module()
        self.prompt_encoder.prototypes = torch.nn.Parameter(torch.zeros(shape))

    def set_prototypes(self, prototypes: torch.Tensor) -> None:
        self.prompt_encoder.prototypes.copy_(prototypes)


def test_known_classes_keep_their_prototypes_by_name() -> None:
    file = ModelFile(shipped_model())
    network = rebuild_scsam(file.path, record=file.record)
    load_weights(network, file)
    known = network.prompt_encoder.prototypes
    names = file.class_names(len(known))
    other = Prompted((3, *known.shape[1:]))
    engine = SimpleNamespace(state=SimpleNamespace(resumed=False))
    KeepPrototypes(other, ["background", "centriole", "mitochondrion"], file.path)(engine)
    mine = other.prompt_encoder.prototypes
    assert torch.equal(mine[0], known[0])
    assert not mine[1].any()
    assert torch.equal(mine[2], known[names.index("mitochondrion")])


def test_known_classes_keep_the_fine_prototypes_of_the_skip_too() -> None:
    file = ModelFile(shipped_model())
    network = rebuild_scsam(file.path, record=file.record)
    load_weights(network, file)
    known = network.mask_decoder.skip_head
    assert known.prototypes is not None
    names = file.class_names(len(known.prototypes))
    other = Prompted((3, *network.prompt_encoder.prototypes.shape[1:]))
    other.mask_decoder = torch.nn.Module()
    other.mask_decoder.skip_head = head = SkipHead(256, known.channels, n_classes=3)
    fresh = head.prototypes.detach().clone()
    engine = SimpleNamespace(state=SimpleNamespace(resumed=False))
    KeepPrototypes(other, ["mitochondrion", "centriole", "background"], file.path)(engine)
    for row, name in ((0, "mitochondrion"), (2, "background")):
        assert torch.equal(head.prototypes[row], known.prototypes[names.index(name)])
        assert head.bias[row] == known.bias[names.index(name)]
    assert torch.equal(head.prototypes[1], fresh[1])
    assert head.bias[1] == 0


def test_without_a_model_and_in_a_resumed_run_nothing_is_set() -> None:
    other = Prompted((2, 4, 256))
    engine = SimpleNamespace(state=SimpleNamespace(resumed=True))
    KeepPrototypes(other, ["background", "mitochondrion"], RANDOM)(engine)
    KeepPrototypes(other, ["background", "mitochondrion"], shipped_model())(engine)
    assert not other.prompt_encoder.prototypes.any()
