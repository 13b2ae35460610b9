from __future__ import annotations

import torch
from ignite.engine import Engine
from safetensors.torch import load_file

from scsam_monai.training.handlers import SavePart


def test_the_part_is_written_after_every_epoch(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 3).half(), torch.nn.Linear(3, 1))
    path = tmp_path / "runs" / "encoder.safetensors"
    engine = Engine(lambda engine, batch: network[0].bias.data.add_(1))
    SavePart(path, network[0]).attach(engine)
    engine.run([0], max_epochs=2)
    state = load_file(path)
    assert set(state) == {"weight", "bias"}
    assert state["bias"].dtype == torch.float32
    assert torch.equal(state["bias"], network[0].bias.detach().float())
    assert list(path.parent.iterdir()) == [path]
