"""The two stages of pre-training on a device: a masked autoencoder, then the promptable SAM that starts from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.networks.mae import MAEEncoder, MaskedAutoencoder, start_from_sincos
from scsam_monai.networks.promptable_sam import PromptableSAM
from scsam_monai.training.losses.promptable import PromptLoss
from scsam_monai.training.losses.reconstruction import ReconstructionLoss
from scsam_monai.training.optimiser import parameter_groups
from scsam_monai.training.pretraining.drawing import (
    altered,
    anywhere,
    around_objects,
    choose_objects,
    outlines_and_insides,
    turned,
)
from scsam_monai.training.pretraining.prompt_step import PromptStep
from scsam_monai.training.pretraining.teachers import EmbeddingHelpers, PatchTargets
from scsam_monai.training.pretraining.volume_bank import VolumeBank
from scsam_monai.weights.packing import half
from scsam_monai.weights.pretrained import sam_names

BETAS = (0.9, 0.95)
WEIGHT_DECAY = 0.05


class MaskedStage:
    """Masked autoencoding of pixels and of a teacher's features (He et al., CVPR 2022, section 3).

    The encoder sees some patches of a crop whose grey values were altered; the decoder draws the unaltered crop's
    hidden patches and the teacher's features of all patches.

    Args:
        bank: volumes.
        targets: of the teacher; None for pixels alone.
        mae: name of the encoder.
        crop_size: pixels.
        batch: crops a step.
        lr: largest learning rate.
        zoom_range: pixels of a crop for a voxel.
        mask_ratio: share of hidden patches.
        feature_weight: of the teacher's features against pixels.
        seed: of everything.
    """

    name = "mae"

    def __init__(
        self,
        bank: VolumeBank,
        targets: PatchTargets | None,
        mae: str = "mae_tiny",
        crop_size: int = 128,
        batch: int = 1024,
        lr: float = 1.2e-3,
        zoom_range: Sequence[float] = (1 / 3, 1.5),
        mask_ratio: float = 0.65,
        feature_weight: float = 2.0,
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed)
        self.bank, self.targets = bank, targets
        self.crop_size, self.examples, self.zoom_range = crop_size, batch, zoom_range
        self.feature_weight = feature_weight
        encoder = MAEEncoder(mae)
        start_from_sincos(encoder)
        self.network = MaskedAutoencoder(
            encoder,
            mask_ratio=mask_ratio,
            decoder_width=192,
            feature_channels=0 if targets is None else targets.channels,
        ).to(bank.device)
        self.loss = ReconstructionLoss()
        self.modules = {"network": self.network}
        groups = parameter_groups(self.network, lr, weight_decay=WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=bank.device.type == "cuda")
        self.generator = torch.Generator(bank.device).manual_seed(seed)

    def draw(self) -> tuple[Tensor, Tensor]:
        """Crops, and the same crops altered."""
        windows = anywhere(self.bank, self.examples, self.crop_size, self.zoom_range, self.generator)
        (image,) = turned([self.bank.cut(windows, self.crop_size)], self.generator)
        return image, altered(image, self.generator)

    def learn(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Take a step."""
        image, shown = batch
        target = None if self.targets is None else self.targets(image)
        with torch.autocast(image.device.type, torch.bfloat16, enabled=image.is_cuda):
            drawn = self.network(shown, self.generator)
        total = pixels = self.loss(drawn, image)
        terms = {"pixels": pixels.detach()}
        if self.targets is not None and target is not None and drawn.features is not None:
            features = self.targets.loss(drawn.features, target)
            total, terms["features"] = pixels + self.feature_weight * features, features.detach()
        self.optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        return terms

    def save(self, folder: Path) -> None:
        """Write ``mae.safetensors``, the encoder in half precision."""
        _write(folder / "mae.safetensors", self.network.encoder.vit.state_dict())


class PromptedStage:
    """The promptable SAM (Kirillov et al., ICCV 2023), with helpers that keep its embedding to the image.

    Args:
        bank: volumes, some with objects.
        targets: of the teacher; None to do without.
        n_classes: of the bank's classes; 0 to do without.
        encoder_init: state of an MAE's ViT to start from.
        sam: name of the encoder.
        crop_size: pixels.
        batch: crops a step.
        max_instances: objects of a crop.
        lr: largest learning rate.
        zoom_range: pixels of a crop for a voxel.
        seed: of everything.
    """

    name = "sam"

    def __init__(
        self,
        bank: VolumeBank,
        targets: PatchTargets | None,
        n_classes: int,
        encoder_init: Mapping[str, Tensor] | None = None,
        sam: str = "vit_t",
        crop_size: int = 256,
        batch: int = 128,
        max_instances: int = 6,
        lr: float = 8e-4,
        zoom_range: Sequence[float] = (0.65, 3.5),
        seed: int = 0,
    ) -> None:
        torch.manual_seed(seed + 1)
        self.bank, self.targets = bank, targets
        self.crop_size, self.examples, self.zoom_range = crop_size, batch, zoom_range
        self.max_instances = max_instances
        self.network = PromptableSAM(sam)
        if encoder_init is not None:
            encoder = self.network.image_encoder
            vit = {key: value.float() for key, value in encoder_init.items()}
            encoder.load_state_dict(sam_names(vit, encoder.state_dict()))
        self.network.to(bank.device)
        self.helpers = EmbeddingHelpers(targets, n_classes).to(bank.device)
        self.modules = {"network": self.network, "helpers": self.helpers}
        both = nn.ModuleList([self.network, self.helpers])
        groups = parameter_groups(both, lr, {"0.image_encoder": 0.75}, weight_decay=WEIGHT_DECAY)
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=bank.device.type == "cuda")
        self.generator = torch.Generator(bank.device).manual_seed(seed + 1)
        self.step = PromptStep(
            self.network, self.optimizer, PromptLoss(), self.helpers, rounds=1, correction_share=0.25
        )

    def draw(self) -> dict[str, Tensor]:
        """Crops with numbered objects, and what the helpers compare with."""
        windows = around_objects(self.bank, self.examples, self.crop_size, self.zoom_range, self.generator)
        cut = (self.bank.cut, self.bank.cut_parts, self.bank.cut_classes)
        image, parts, classes = turned([part(windows, self.crop_size) for part in cut], self.generator)
        return {
            "image": altered(image, self.generator),
            "clean": image,
            "label": choose_objects(parts, self.max_instances, 40, self.generator),
            "regions": outlines_and_insides(parts),
            "classes": classes,
        }

    def learn(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Take a step."""
        targets: dict[str, Any] = dict(batch)
        if self.targets is not None:
            targets["features"] = self.targets(batch["clean"])
        terms = self.step.learn(batch["image"], batch["label"], targets)
        return {**{name: terms[name] for name in ("total", "first_iou")}, **self.helpers.terms}

    def save(self, folder: Path) -> None:
        """Write the encoder and all the rest, each in half precision."""
        state = self.network.state_dict()
        encoder = {key: value for key, value in state.items() if key.startswith("image_encoder.")}
        _write(folder / "sam_encoder.safetensors", encoder)
        _write(folder / "sam_prompts.safetensors", {k: v for k, v in state.items() if k not in encoder})


def _write(path: Path, state: Mapping[str, Tensor]) -> None:
    content = save({key: value.cpu() for key, value in half(path, state).items()})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
