"""The ScSAM network and its parts: pure torch, no files, no printing."""

import scsam_monai._torchvision  # noqa: F401  (before anything that imports timm or segment-anything)
