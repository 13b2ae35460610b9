"""Handlers that MONAI's trainer and evaluator call while they run."""

from scsam_monai.training.handlers.best import BestWeights
from scsam_monai.training.handlers.checkpoint import RunCheckpoint
from scsam_monai.training.handlers.events import events_of_first
from scsam_monai.training.handlers.loss_terms import LossTerms
from scsam_monai.training.handlers.metrics_log import MetricsLog
from scsam_monai.training.handlers.probe import ProbeHandler
from scsam_monai.training.handlers.progress import Progress
from scsam_monai.training.handlers.prototypes import PrototypeInit
from scsam_monai.training.handlers.record import RunRecord
from scsam_monai.training.handlers.save_part import SavePart
from scsam_monai.training.handlers.set_epoch import SetEpoch

__all__ = [
    "BestWeights",
    "LossTerms",
    "MetricsLog",
    "ProbeHandler",
    "Progress",
    "PrototypeInit",
    "RunCheckpoint",
    "RunRecord",
    "SavePart",
    "SetEpoch",
    "events_of_first",
]
