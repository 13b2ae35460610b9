"""ScSAM itself trains with all of this."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from scsam_monai.networks.compose import compose_scsam
from scsam_monai.training.batches import epoch_loader, prepare_batch
from scsam_monai.training.crops import BalancedCropDataset
from scsam_monai.training.handlers import PrototypeInit, RunCheckpoint, SetEpoch
from scsam_monai.training.losses import ScSAMLoss
from scsam_monai.training.optimiser import parameter_groups


def test_scsam_learns_a_little_and_its_encoders_stay(items: list[dict[str, Any]], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = compose_scsam(3, preset="paper", prototypes=2)
    network.sam_encoder.freeze()  # type: ignore[union-attr]
    network.mae_encoder.freeze()  # type: ignore[union-attr]
    frozen = {name: value.clone() for name, value in network.state_dict().items() if "_encoder." in name}
    frozen = {name: value for name, value in frozen.items() if not name.startswith("prompt_encoder")}
    crops = BalancedCropDataset(items, 3, crop_size=32, pool_size=4)
    loader = epoch_loader(crops, batch_size=2)
    optimizer = torch.optim.AdamW(parameter_groups(network, 1e-3, {"mask_decoder": 0.1}))
    loss, totals = ScSAMLoss(), []
    trainer = SupervisedTrainer(
        torch.device("cpu"),
        4,
        loader,
        network,
        optimizer,
        loss,
        prepare_batch=prepare_batch,
        train_handlers=[
            RunCheckpoint(tmp_path, network, optimizer),
            PrototypeInit(network, crops),
            SetEpoch([crops, loader.sampler]),  # type: ignore[list-item]
        ],
        decollate=False,
    )
    before = network.prompt_encoder.prototypes.detach().clone()
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: totals.append(loss.terms["total"].item()))
    trainer.run()
    assert set(loss.terms) >= {"cross_entropy", "dice", "similarity", "contrast", "alignment", "rank_mae"}
    assert sum(totals[-2:]) < sum(totals[:2])
    assert not torch.equal(network.prompt_encoder.prototypes, before)
    assert all(torch.equal(network.state_dict()[name], value) for name, value in frozen.items())
    saved = torch.load(tmp_path / "last.pt", weights_only=True)["network"]
    assert not set(saved) & set(frozen)
