"""The bundle as a MONAI Label app. It runs in MONAI Label's own environment."""
