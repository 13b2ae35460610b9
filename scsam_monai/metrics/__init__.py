"""Scores against ground truth, accumulated over whole volumes."""

from scsam_monai.metrics.boundary import boundary_counts, boundary_f1
from scsam_monai.metrics.confusion import ConfusionIoU, dice_per_class, iou_per_class, mean_foreground
from scsam_monai.metrics.evaluation import Evaluation, Score, evaluate_labels
from scsam_monai.metrics.handlers import VolumeIoUHandler
from scsam_monai.metrics.objects import SizeBin, find_objects, recall_by_size
from scsam_monai.metrics.table import ClassScore, class_scores, format_text, write_metrics

__all__ = [
    "ClassScore",
    "ConfusionIoU",
    "Evaluation",
    "Score",
    "SizeBin",
    "VolumeIoUHandler",
    "boundary_counts",
    "boundary_f1",
    "class_scores",
    "dice_per_class",
    "evaluate_labels",
    "find_objects",
    "format_text",
    "iou_per_class",
    "mean_foreground",
    "recall_by_size",
    "write_metrics",
]
