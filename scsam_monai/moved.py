"""Old names of modules, which keep working for one release.

They are those that the bundle's configs and the documents named before, and that people may have in configs of
their own. An import of one gives the module that its content lies in now, and warns.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

PACKAGE = "scsam_monai"
MOVED = {
    "bars": "progress",
    "data.corrections": "monai_label.corrections",
    "data.description": "data.dataset",
    "data.listing": "data.unlabelled",
    "data.opening": "data.checks",
    "data.sharding": "training.distributed",
    "inference.slices": "inference.monai_inferer",
    "io.folders": "filesystem.atomic",
    "io.monai_reader": "io.monai_adapters",
    "io.nifti": "io.formats.nifti",
    "io.save_labels": "io.monai_adapters",
    "io.units": "io.voxel_size",
    "metrics.score_table": "metrics.handlers",
    "networks.masked_autoencoder": "networks.mae",
    "networks.peers": "baselines.unet",
    "training.budget": "training.optimiser",
    "training.class_weights": "training.batches",
    "training.door": "training.run",
    "training.handlers.score_start": "training.handlers.best",
    "training.instance_volumes": "training.pretraining.instance_volumes",
    "training.instances": "training.pretraining.instance_crops",
    "training.label_server": "monai_label.training",
    "training.learned": "monai_label.served_model",
    "training.linear_probe": "training.handlers.probe",
    "training.outlines": "training.pretraining.prompt_step",
    "training.processes": "training.distributed",
    "training.prompt_validation": "training.pretraining.prompt_validation",
    "training.promptable": "training.pretraining.prompt_step",
    "training.random_forest": "baselines.random_forest",
    "training.sampler": "training.batches",
    "training.unlabelled": "training.pretraining.mae_crops",
    "weights.loading": "weights.build",
    "weights.mae_encoder": "weights.pretrained",
    "weights.promptable": "weights.pretrained",
}
"""Where the content of each module went, both without the package's own name."""


class OldNames:
    """Finds moved modules, for Python's import."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to import ``name``, or None where it is no old name."""
        package, _, old = name.partition(".")
        return ModuleSpec(name, _Loader(MOVED[old])) if package == PACKAGE and old in MOVED else None


class _Loader(Loader):
    """Puts the module of another name in place of the one that is being imported."""

    def __init__(self, new: str) -> None:
        self.new = f"{PACKAGE}.{new}"

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        warnings.warn(
            f"{module.__name__} has moved to {self.new}; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        sys.modules[module.__name__] = importlib.import_module(self.new)


def keep_old_names() -> None:
    """Let Python find modules under their old names, too."""
    if OldNames not in sys.meta_path:
        sys.meta_path.append(OldNames)
