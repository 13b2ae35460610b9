"""ScSAM for MONAI: prompt-free semantic segmentation of organelles in electron microscopy."""

__version__ = "0.1.0"
