"""Everything that the model zoo asks of a bundle of this project, checked without a network."""

from scsam_monai.bundle_tools.verify.checks import CHECKS, Outcome, verify_bundle

__all__ = ["CHECKS", "Outcome", "verify_bundle"]
