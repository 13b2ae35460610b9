"""The weights leave the bundle as files that other programs open."""

from __future__ import annotations

import warnings

import torch
from monai.bundle import ckpt_export

from scsam_monai.export import export_torchscript
from scsam_monai.export.recording import check_agreement
from scsam_monai.inference.model import open_model
from scsam_monai.signoff.folder import SIDE, BundleFolder


def check_trace(bundle: BundleFolder) -> None:
    """MONAI's ``ckpt_export`` traces the network, and the trace says what the network says."""
    path = bundle.scratch / "model.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(bundle.model),
            meta_file=bundle.config("metadata"),
            config_file=bundle.config("inference"),
            use_trace=True,
            input_shape=[1, 1, SIDE, SIDE],
            bundle_root=str(bundle.root),
            device="cpu",
        )
    network, traced = open_model(bundle.model, "cpu").network, torch.jit.load(str(path))
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    check_agreement(path, traced, network, images)


def check_exports(bundle: BundleFolder) -> None:
    """``scsam export`` writes TorchScript that agrees with the network; it compares by itself."""
    export_torchscript(open_model(bundle.model, "cpu"), bundle.scratch / "exported.ts", window=128)
