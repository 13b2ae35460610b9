"""The scores of every validation, in a table."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events

from scsam_monai.filesystem.atomic import atomic_path
from scsam_monai.training.handlers.record import write_json


class MetricsLog:
    """Writes ``metrics.csv`` and ``metrics.json`` after every validation, a row each.

    A metric with a value per class fills one column per class, named ``metric/class``. Hand it to
    ``RunCheckpoint(stateful={"metrics": ...})``, so that a resumed run goes on with the same table.

    Args:
        run_dir: folder of both files.
        class_names: index is the class id.

    Attributes:
        rows: one mapping per validation.
    """

    def __init__(self, run_dir: str | Path, class_names: Sequence[str] = ()) -> None:
        self.run_dir = Path(run_dir)
        self.class_names = list(class_names)
        self.rows: list[dict[str, float | int | None]] = []

    def attach(self, engine: Engine) -> None:
        """Register with the evaluator."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    def __call__(self, engine: Engine) -> None:
        """Add the row of this epoch."""
        row: dict[str, float | int | None] = {"epoch": engine.state.epoch}
        for name, value in engine.state.metrics.items():
            row |= {key: None if math.isnan(number) else number for key, number in self._columns(name, value)}
        self.rows = [old for old in self.rows if old["epoch"] != row["epoch"]] + [row]
        self._write()

    def state_dict(self) -> dict[str, Any]:
        """The table so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        self.rows = [dict(row) for row in state["rows"]]

    def _columns(self, name: str, value: Any) -> Iterator[tuple[str, float]]:
        if isinstance(value, Mapping):
            for key, part in value.items():
                yield from self._columns(f"{name}/{key}", part)
            return
        numbers = torch.as_tensor(value, dtype=torch.float64)
        if numbers.ndim == 0:
            yield name, numbers.item()
            return
        flat = numbers.flatten().tolist()
        named = self.class_names if len(flat) == len(self.class_names) else range(len(flat))
        yield from ((f"{name}/{label}", number) for label, number in zip(named, flat, strict=True))

    def _write(self) -> None:
        if idist.get_rank():
            return
        write_json(self.run_dir / "metrics.json", {"class_names": self.class_names, "validations": self.rows})
        columns = list(dict.fromkeys(key for row in self.rows for key in row))
        with (
            atomic_path(self.run_dir / "metrics.csv") as temporary,
            temporary.open("w", newline="") as stream,
        ):
            table = csv.DictWriter(stream, columns)
            table.writeheader()
            table.writerows(self.rows)
