"""What a bundle that is not ours would run, read without running or importing any of it."""

from scsam_monai.audit.bundle import audit_bundle
from scsam_monai.audit.finding import Finding

__all__ = ["Finding", "audit_bundle"]
