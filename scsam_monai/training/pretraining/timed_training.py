"""Train for a given time: the learning rate follows the clock, and a killed run resumes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from scsam_monai.errors import InputError
from scsam_monai.filesystem.locks import holder, lease
from scsam_monai.training.handlers.finite import FirstNotFinite
from scsam_monai.weights.model_file import damaged_part
from scsam_monai.weights.saving import whole, write_torch

WARM_UP = 0.04
"""Share of the time in which the learning rate rises."""


class Stage(Protocol):
    """What is trained: where the examples come from, and what a step does with them."""

    @property
    def name(self) -> str:
        """Of the files it leaves."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """What trains."""

    @property
    def optimizer(self) -> Optimizer:
        """Of all modules."""

    @property
    def generator(self) -> torch.Generator:
        """Random numbers, on the device."""

    @property
    def examples(self) -> int:
        """Crops of a step."""

    def draw(self) -> Any:
        """Make the examples of a step, on the device."""

    def learn(self, batch: Any) -> Mapping[str, Tensor]:
        """Take the step and return losses and scores worth noting; one that is not finite ends the run."""

    def save(self, folder: Path) -> None:
        """Write what others use."""


class TimedTraining:
    """Run a stage until its time is used up.

    Everything that a later run needs to go on lies in ``work`` after each ``save_every`` seconds, and what others
    use in ``output``: a run that is killed loses what came after. A run goes on where the last one was saved.

    Args:
        stage: what is trained.
        seconds: of all runs together.
        output: folder for weights and for ``NAME.jsonl``, one line of figures every ``log_every`` seconds.
        work: folder for the state.
        save_every: seconds.
        log_every: seconds.
        before_step: called with the number of each step, for instance to take over new volumes.
        clock: of seconds.
    """

    def __init__(
        self,
        stage: Stage,
        seconds: float,
        output: Path,
        work: Path,
        save_every: float = 20.0,
        log_every: float = 5.0,
        before_step: Callable[[int], None] = lambda number: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage, self.seconds, self.output, self.work = stage, seconds, output, work
        self.save_every, self.log_every, self.before_step, self.clock = (
            save_every,
            log_every,
            before_step,
            clock,
        )
        self.elapsed, self.steps = 0.0, 0
        self._first_bad = FirstNotFinite(f"loss of {stage.name}")
        self._rates = [float(group["lr"]) for group in stage.optimizer.param_groups]
        self._times = _Times(stage.generator.device)
        if self._state_path.is_file():
            self._restore()

    def run(self) -> dict[str, float]:
        """Train; return the last line of figures.

        Raises:
            InputError: if another process trains this stage in the same folder, a loss is not finite, or the disk
                is full; what was saved before stays.
        """
        lock = self.work / f"{self.stage.name}.lock"
        with lease(lock) as mine:
            if not mine:
                met = f"one in which {holder(lock)} trains {self.stage.name}"
                remedy = "name another folder, or wait until that has ended"
                raise InputError(self.work, expected="a folder of its own", met=met, remedy=remedy)
            return self._run()

    def _run(self) -> dict[str, float]:
        line: dict[str, float] = {}
        last = saved = logged = self.clock()
        while self.elapsed < self.seconds:
            self.before_step(self.steps)
            self._set_rate(self.elapsed / self.seconds)
            self._times.start()
            batch = self.stage.draw()
            self._times.drawn()
            terms = self.stage.learn(batch)
            self._times.learned()
            self.steps += 1
            for value in terms.values():
                self._first_bad.note(value, self.steps)
            if self.clock() - logged > self.log_every or self.elapsed == 0:
                line, logged = self._log(terms, self.clock() - logged), self.clock()
            now = self.clock()
            self.elapsed, last = self.elapsed + now - last, now
            if now - saved > self.save_every:
                self.save()
                saved = self.clock()
        line = self._log(terms, self.clock() - logged) if self._times.steps else line
        self.save()
        return line

    def save(self) -> None:
        """Write weights and state.

        Raises:
            InputError: if a loss was not finite, or the disk is full; what was saved before stays.
        """
        self._first_bad.check()
        self.stage.save(self.output)
        state = {
            "modules": {name: module.state_dict() for name, module in self.stage.modules.items()},
            "optimizer": self.stage.optimizer.state_dict(),
            "generator": self.stage.generator.get_state(),
            "elapsed": self.elapsed,
            "steps": self.steps,
            "settings": self._settings(),
        }
        with whole(self._state_path) as temporary:
            write_torch(temporary, state)

    @property
    def _state_path(self) -> Path:
        return self.work / f"{self.stage.name}.pt"

    def _restore(self) -> None:
        state = self._read()
        for name, module in self.stage.modules.items():
            module.load_state_dict(state["modules"][name])
        self.stage.optimizer.load_state_dict(state["optimizer"])
        self.stage.generator.set_state(state["generator"])
        self.elapsed, self.steps = state["elapsed"], state["steps"]

    def _settings(self) -> dict[str, Any]:
        """What a run has to share with the one it goes on with."""
        return {
            "examples": self.stage.examples,
            "rates": self._rates,
            "shapes": {
                name: {key: list(value.shape) for key, value in module.state_dict().items()}
                for name, module in self.stage.modules.items()
            },
        }

    def _read(self) -> dict[str, Any]:
        path = self._state_path
        try:
            if part := damaged_part(path):
                raise ValueError(f"damage in {part}")
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            saved = state.get("settings", {})  # which older runs did not note
        except Exception as error:  # torch, zipfile and pickle raise a dozen kinds on broken files
            met = f"a broken file ({type(error).__name__})"
            remedy = "delete it and start again, or restore a copy"
            raise InputError(path, expected="a state to go on from", met=met, remedy=remedy) from error
        for name, own in self._settings().items():
            if name in saved and saved[name] != own:
                met = "others" if name == "shapes" else str(saved[name])
                expected = "the same modules" if name == "shapes" else f"a run of {name} {own}"
                remedy = "go on with the settings it was started with, or name another folder for its state"
                raise InputError(path, expected=expected, met=met, remedy=remedy)
        return state

    def _set_rate(self, share: float) -> None:
        rise = min(1.0, (share + 1e-3) / WARM_UP)
        factor = rise * max(0.01, 0.5 * (1 + math.cos(math.pi * share)))
        for group, rate in zip(self.stage.optimizer.param_groups, self._rates, strict=True):
            group["lr"] = rate * factor

    def _log(self, terms: Mapping[str, Tensor], wall: float) -> dict[str, float]:
        self._first_bad.check()
        steps = self._times.steps
        network, everything = self._times.read()
        line = {
            "seconds": round(self.elapsed, 1),
            "step": self.steps,
            "examples_per_s": round(steps * self.stage.examples / max(wall, 1e-9), 1),
            "network_share": round(network / max(everything, 1e-9), 3),
            **{name: round(float(value), 4) for name, value in terms.items()},
        }
        if self._times.device.type == "cuda":
            line["peak_gib"] = round(torch.cuda.max_memory_allocated(self._times.device) / 2**30, 1)
        with (self.output / f"{self.stage.name}.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        print(self.stage.name, json.dumps(line), flush=True)
        return line


class _Times:
    """How long drawing and learning took, by the device's own clock where it is a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._marks: list[list[Any]] = []

    @property
    def steps(self) -> int:
        return len(self._marks)

    def start(self) -> None:
        self._marks.append([self._mark()])

    def drawn(self) -> None:
        self._marks[-1].append(self._mark())

    def learned(self) -> None:
        self._marks[-1].append(self._mark())

    def read(self) -> tuple[float, float]:
        """Seconds in the network and from the first mark to the last; the marks are forgotten."""
        marks, self._marks = self._marks, []
        network = sum(self._between(drawn, learned) for _, drawn, learned in marks)
        return network, self._between(marks[0][0], marks[-1][2])

    def _mark(self) -> Any:
        if self.device.type != "cuda":
            return time.monotonic()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _between(self, first: Any, second: Any) -> float:
        if self.device.type != "cuda":
            return float(second - first)
        second.synchronize()
        return float(first.elapsed_time(second)) / 1e3
