"""Checkpoints from which a run that was stopped at any moment resumes with identical results."""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import ignite.distributed as idist
import numpy as np
import torch
from ignite.engine import Events
from monai.engines import Workflow
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from scsam_monai.errors import InputError, check_choice
from scsam_monai.networks.frozen_encoders import Freezable, check_layout, digest, full_state
from scsam_monai.training.handlers.finite import REMEDY
from scsam_monai.training.handlers.record import RunRecord
from scsam_monai.weights.model_file import damaged_part
from scsam_monai.weights.saving import whole, write_torch
from scsam_monai.weights.state_dicts import check_finite

logger = logging.getLogger(__name__)

FORMAT = 1
RESUME = (True, False, "auto")


def split_state(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Trained and frozen entries of the network's whole state.

    Frozen encoders are most of a network's bytes and never change; a checkpoint every epoch can do without.
    """
    frozen = tuple(
        f"{name}." for name, part in network.named_modules() if isinstance(part, Freezable) and part.frozen
    )
    state = full_state(network)
    trained = {name: value for name, value in state.items() if not name.startswith(frozen)}
    return trained, {name: value for name, value in state.items() if name not in trained}


def random_state() -> dict[str, Any]:
    """States of torch (CPU and every GPU), numpy and Python, loadable with ``weights_only=True``."""
    state: Any = np.random.get_state()  # noqa: NPY002 - that is the global one
    algorithm, keys, position, has_gauss, gauss = state
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": (algorithm, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore what :func:`random_state` returned; GPUs only if there are as many as there were."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    algorithm, keys, *rest = state["numpy"]
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))


def parse_resume(value: bool | str) -> bool | str:
    """Return True, False or ``"auto"``; on a command line JSON's spelling will do, too.

    Raises:
        InputError: for anything else.

    Example:
        >>> parse_resume("true"), parse_resume("auto")
        (True, 'auto')
    """
    value = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    check_choice("resume", value, RESUME)
    return value


class Stateful(Protocol):
    """An object whose state is kept across a resume, such as the best score so far."""

    def state_dict(self) -> Mapping[str, Any]:
        """Tensors, numbers, strings, lists and dicts only."""

    def load_state_dict(self, state: Any) -> Any:
        """Take back what :meth:`state_dict` returned."""


class RunCheckpoint:
    """Writes ``last.pt`` whole after every epoch and takes a run up again from it.

    A run stopped inside an epoch, by whatever, starts that epoch again: views, augmentation and order follow from
    the epoch number, and all random states are restored, so the weights come out the same bit for bit. The state
    inside an epoch is never saved, because its first crops would be shown twice.

    The file holds the trained weights and the digest of the frozen ones, optimizer, schedule, progress, best score,
    random states and the run record. It is read with ``weights_only=True`` alone.

    Put it first among the trainer's handlers: others may ask ``engine.state.resumed`` at the start.

    Args:
        run_dir: folder of ``last.pt``.
        network: what trains.
        optimizer: of the network.
        lr_scheduler: None for a constant rate.
        stateful: further objects to save and restore by name, such as ``{"best": BestWeights(...)}``.
        record: stored along, and written as ``run.json`` at the start.
        resume: True goes on from ``last.pt`` and insists on it, ``"auto"`` does if there is one, False starts
            afresh.
    """

    def __init__(
        self,
        run_dir: str | Path,
        network: nn.Module,
        optimizer: Optimizer,
        lr_scheduler: LRScheduler | None = None,
        stateful: Mapping[str, Stateful] | None = None,
        record: RunRecord | None = None,
        resume: bool | str = False,
    ) -> None:
        resume = parse_resume(resume)
        self.path = Path(run_dir) / "last.pt"
        self.network, self.optimizer, self.lr_scheduler = network, optimizer, lr_scheduler
        self.stateful = dict(stateful or {})
        self.record = record
        self.resume = resume
        self._frozen_digest = ""

    def attach(self, engine: Workflow) -> None:
        """Register with the trainer."""
        engine.add_event_handler(Events.STARTED, self.start)

    def start(self, engine: Workflow) -> None:
        """Restore if asked to, then save after every epoch."""
        if self.record is not None:
            self.record.write()
        self._frozen_digest = digest(split_state(self.network)[1])
        engine.state.resumed = self.resume is True or (self.resume == "auto" and self._found())
        if engine.state.resumed:
            self.restore(engine)
        else:
            # The state before the first step: else a run killed in its first epoch would resume an older one.
            engine.add_event_handler(Events.EPOCH_STARTED(once=1), self.save)
        # Registered as late as possible, so that validation of the epoch has run and its result is saved too.
        if not engine.has_event_handler(self.save, Events.EPOCH_COMPLETED):
            engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def save(self, engine: Workflow) -> None:
        """Write ``last.pt``; of several processes the first does.

        Raises:
            InputError: if weights are not finite, or the disk is full; the checkpoint before stays.
        """
        if idist.get_rank():
            return
        scaler = getattr(engine, "scaler", None)
        trained = split_state(self.network)[0]
        check_finite(f"weights after epoch {engine.state.epoch}", trained, REMEDY)
        state = {
            "format": FORMAT,
            "network": trained,
            "frozen_sha256": self._frozen_digest,
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": None if self.lr_scheduler is None else self.lr_scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "stateful": {name: dict(part.state_dict()) for name, part in self.stateful.items()},
            "progress": {
                name: getattr(engine.state, name) for name in ("iteration", "epoch_length", "max_epochs")
            },
            "random": random_state(),
            "record": None if self.record is None else self.record.content,
        }
        with whole(self.path) as temporary:
            write_torch(temporary, state)

    def restore(self, engine: Workflow) -> None:
        """Restore everything from ``last.pt``.

        Raises:
            InputError: if it is missing, broken, or of another network, data or schedule.
        """
        state = _read(self.path)
        self._check_data(state["record"])
        self._restore_network(state)
        try:
            self.optimizer.load_state_dict(state["optimizer"])
            for name, part in self.stateful.items():
                # A part that has nothing to keep may be younger than the checkpoint.
                if name in state["stateful"] or part.state_dict():
                    part.load_state_dict(state["stateful"][name])
        except (KeyError, ValueError) as error:
            raise self._misfit("the optimizer and handlers of this run", str(error)) from error
        if (scaler := getattr(engine, "scaler", None)) is not None and state["scaler"]:
            scaler.load_state_dict(state["scaler"])
        self._restore_progress(engine, state["progress"])
        self._restore_schedule(
            state["lr_scheduler"], state["progress"]["max_epochs"] == engine.state.max_epochs
        )
        set_random_state(state["random"])
        logger.info(
            "resumed from %s after epoch %d of %d", self.path, engine.state.epoch, engine.state.max_epochs
        )

    def _found(self) -> bool:
        """Whether there is a checkpoint, as the first process sees it: once it goes on it may write one."""
        return bool(idist.broadcast(float(self.path.exists()), src=0))

    def _check_data(self, saved: Mapping[str, Any] | None) -> None:
        own = None if self.record is None else self.record.content
        before, now = (None if record is None else record["data_sha256"] for record in (saved, own))
        if before and now and before != now:
            raise self._misfit("the data set it was trained on", "another one, or a changed one")

    def _restore_network(self, state: dict[str, Any]) -> None:
        trained, frozen = split_state(self.network)
        check_layout(self.path, state["network"], trained)
        if state["frozen_sha256"] != self._frozen_digest:
            raise self._misfit("the frozen weights it was trained on", "other encoder weights")
        self.network.load_state_dict(frozen | state["network"])

    def _restore_progress(self, engine: Workflow, progress: dict[str, int]) -> None:
        length = progress["epoch_length"]
        if length != engine.state.epoch_length:
            raise self._misfit(f"epochs of {engine.state.epoch_length} steps", f"{length}")
        epoch = progress["iteration"] // length
        if epoch > engine.state.max_epochs:
            raise self._misfit(f"at most {engine.state.max_epochs} epochs (max_epochs)", f"{epoch} done")
        engine.state.iteration, engine.state.epoch = progress["iteration"], epoch

    def _restore_schedule(self, saved: dict[str, Any] | None, same_horizon: bool) -> None:
        if self.lr_scheduler is None or saved is None:
            return
        # A longer or shorter run follows its own curve from here; the saved horizon would end it elsewhere.
        own = (
            {}
            if same_horizon
            else {name: vars(self.lr_scheduler).get(name) for name in ("t_total", "warmup_steps")}
        )
        self.lr_scheduler.load_state_dict(
            saved | {name: value for name, value in own.items() if value is not None}
        )

    def _misfit(self, expected: str, met: str) -> InputError:
        remedy = "use the configuration it was started with, or resume: false to start afresh"
        return InputError(self.path, expected=expected, met=met, remedy=remedy)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(
            path, expected="a checkpoint to resume", met="no such file", remedy="set resume to false"
        )
    try:
        if part := damaged_part(path):
            raise ValueError(f"damage in {part}")
        state = torch.load(path, map_location="cpu", weights_only=True)
        known = state["format"] == FORMAT
    except Exception as error:  # torch, zipfile and pickle raise a dozen kinds on broken files
        met = f"a broken file ({type(error).__name__})"
        remedy = "delete it and start again, or restore a copy"
        raise InputError(path, expected="a checkpoint to resume", met=met, remedy=remedy) from error
    if not known:
        met, remedy = f"format {state['format']}", "resume with the version that wrote it"
        raise InputError(path, expected=f"checkpoint format {FORMAT}", met=met, remedy=remedy)
    return state
