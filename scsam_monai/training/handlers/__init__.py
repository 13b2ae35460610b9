"""Handlers that MONAI's trainer and evaluator call while they run."""

from scsam_monai.training.batches import SetEpoch
from scsam_monai.training.distributed import events_of_first
from scsam_monai.training.handlers.adapting import KeepPrototypes, Watch
from scsam_monai.training.handlers.averaging import AverageSteps, WeightAverage
from scsam_monai.training.handlers.best import BestWeights, SavePart, ScoreStart
from scsam_monai.training.handlers.checkpoint import RunCheckpoint
from scsam_monai.training.handlers.finite import FiniteLoss
from scsam_monai.training.handlers.gradients import ClipGradients
from scsam_monai.training.handlers.logs import LossTerms, MetricsLog, Progress
from scsam_monai.training.handlers.probe import ProbeHandler
from scsam_monai.training.handlers.prototypes import PrototypeInit
from scsam_monai.training.handlers.record import RunRecord

__all__ = [
    "AverageSteps",
    "BestWeights",
    "ClipGradients",
    "FiniteLoss",
    "KeepPrototypes",
    "LossTerms",
    "MetricsLog",
    "ProbeHandler",
    "Progress",
    "PrototypeInit",
    "RunCheckpoint",
    "RunRecord",
    "SavePart",
    "ScoreStart",
    "SetEpoch",
    "Watch",
    "WeightAverage",
    "events_of_first",
]
