"""Generated EM-like volumes with labels: deterministic, free of licences, made in seconds."""

from scsam_monai.data.synthetic.canvas import CLASSES
from scsam_monai.data.synthetic.dataset import write_sample_dataset
from scsam_monai.data.synthetic.imaging import STYLES, TRAINING_STYLES, UNSEEN_STYLES, Style, draw_style
from scsam_monai.data.synthetic.volume import SyntheticVolume, generate_volume

__all__ = [
    "CLASSES",
    "STYLES",
    "TRAINING_STYLES",
    "UNSEEN_STYLES",
    "Style",
    "SyntheticVolume",
    "draw_style",
    "generate_volume",
    "write_sample_dataset",
]
