"""The network takes and gives what the metadata say."""

from __future__ import annotations

from monai.bundle import verify_net_in_out

from scsam_monai.signoff.folder import BundleFolder


def check_in_and_out(bundle: BundleFolder) -> None:
    """MONAI's own ``verify_net_in_out``, at two sizes of image."""
    for times in (4, 9):
        verify_net_in_out(
            net_id="network_def",
            meta_file=bundle.config("metadata"),
            config_file=bundle.config("inference"),
            device="cpu",
            n=times,
            bundle_root=str(bundle.root),
        )
