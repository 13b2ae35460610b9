"""Generated EM-like volumes with labels: deterministic, free of licences, made in seconds."""

from scsam_monai.data.synthetic.canvas import CLASSES, VOCABULARY
from scsam_monai.data.synthetic.dataset import drawn_tissues, write_sample_dataset
from scsam_monai.data.synthetic.imaging import STYLES, TRAINING_STYLES, UNSEEN_STYLES, Style, draw_style
from scsam_monai.data.synthetic.looks import MODALITIES, Look, draw_look
from scsam_monai.data.synthetic.tissues import TISSUES, chosen_tissues
from scsam_monai.data.synthetic.tissues.dataset import write_tissue_dataset
from scsam_monai.data.synthetic.tissues.volume import generate_tissue
from scsam_monai.data.synthetic.volume import SyntheticVolume, generate_volume

__all__ = [
    "CLASSES",
    "MODALITIES",
    "STYLES",
    "TISSUES",
    "TRAINING_STYLES",
    "UNSEEN_STYLES",
    "VOCABULARY",
    "Look",
    "Style",
    "SyntheticVolume",
    "chosen_tissues",
    "draw_look",
    "draw_style",
    "drawn_tissues",
    "generate_tissue",
    "generate_volume",
    "write_sample_dataset",
    "write_tissue_dataset",
]
