"""List what somebody else's bundle would run, without running or importing any of it."""

from scsam_monai.bundle_tools.audit.bundle import audit_bundle
from scsam_monai.bundle_tools.audit.names import Finding

__all__ = ["Finding", "audit_bundle"]
