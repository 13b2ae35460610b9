"""Check everything that MONAI's model zoo asks of this project's bundle, without a network."""

from scsam_monai.bundle_tools.verify.checks import CHECKS, Outcome, verify_bundle

__all__ = ["CHECKS", "Outcome", "verify_bundle"]
