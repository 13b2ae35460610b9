"""What an earlier run has left at an output: an unfinished job to go on with, or finished maps in the way."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scsam_monai.errors import InputError
from scsam_monai.inference.job import Job, product_path, progress_folder
from scsam_monai.inference.manifest import JOB, Manifest, sweep
from scsam_monai.inference.products import Product
from scsam_monai.inference.store import holds


def begun_job(output: str | Path) -> Job | None:
    """Return the unfinished job of an output; None without one, or where it is of another release."""
    folder = progress_folder(Path(output).absolute())
    try:
        return Job.from_json(Manifest(folder).job) if (folder / JOB).is_file() else None
    except (KeyError, TypeError, ValueError):  # it is refused, with what differs, when it is gone on with
        return None


def recorded_threads(folder: Path) -> int | None:
    """Return the threads that the run in a progress folder computes with; None without such a run."""
    # Another job may stand there, of another release: it is refused by and by.
    return Manifest(folder).job.get("threads") if (folder / JOB).is_file() else None


def refuse_finished(output: Path, products: Sequence[Product], source: Path, resume: bool) -> None:
    """Refuse an output that is there.

    Args:
        output: the labels.
        products: maps to make.
        source: the input, which is no output.
        resume: whether an unfinished run is to be gone on with; chooses the words.

    Raises:
        InputError: one of the maps is there, and no run that still moves them.
    """
    folder = progress_folder(output)
    for product in products:
        path = product_path(output, product)
        # A run that was killed while it moved its maps has moved some, which it does not hold any more.
        if path.exists() and (holds(folder, output, product) or not (folder / JOB).exists()):
            sweep(folder)  # it may have been killed over its last act, and nobody will come after
            if path.resolve() == source.resolve():
                raise InputError(
                    path, expected="an output", met="the input itself", remedy="name another output"
                )
            if resume:
                raise InputError(
                    path,
                    expected="an unfinished run to go on with",
                    met="an output that is there and no such run",
                    remedy="nothing is left to do; to predict anew, remove it or name another",
                )
            raise InputError(
                path, expected="no output yet", met="one that is there", remedy="remove it or name another"
            )
