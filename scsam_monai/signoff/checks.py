"""The checks by name, in the order in which they run."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from textwrap import shorten

from scsam_monai.errors import InputError, check_choice
from scsam_monai.signoff import documents, exports, files, metadata, network, workflows
from scsam_monai.signoff.folder import BundleFolder, CheckError

CHECKS: dict[str, Callable[[BundleFolder], None]] = {
    "files": files.check_files,
    "large files": files.check_large_files,
    "weights": files.check_weights,
    "metadata": metadata.check_schema,
    "version": metadata.check_version,
    "packages": metadata.check_packages,
    "tensors": metadata.check_tensors,
    "data licence": documents.check_data_licence,
    "model card": documents.check_model_card,
    "train properties": workflows.check_train,
    "evaluate properties": workflows.check_evaluate,
    "multi-GPU properties": workflows.check_multi_gpu,
    "inference properties": workflows.check_inference,
    "network": network.check_in_and_out,
    "ckpt_export": exports.check_trace,
    "exports": exports.check_exports,
    "train": workflows.run_train,
    "evaluate": workflows.run_evaluate,
    "inference": workflows.run_inference,
    "multi-GPU train": workflows.run_multi_gpu,
}
"""From the cheapest to those that train."""
LONGEST = 300
"""Letters of a reason; torch names every key of a network that misses some."""


@dataclass(frozen=True)
class Outcome:
    """How a check ended.

    Attributes:
        name: of the check.
        why: it failed, one line; None where it did not.
    """

    name: str
    why: str | None = None


def verify_bundle(folder: str | Path, only: Sequence[str] = ()) -> Iterator[Outcome]:
    """Run the checks on a bundle's folder, which runs its configs: audit a stranger's first.

    Args:
        folder: the bundle's.
        only: names of checks; none for all.

    Yields:
        an outcome after each check, whatever became of the others.

    Raises:
        InputError: if there is no such folder or check.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise InputError(folder, expected="a bundle's folder", met="none", remedy="check the path")
    for name in only:
        check_choice("--only", name, CHECKS)
    with tempfile.TemporaryDirectory(prefix="scsam-verify-") as scratch:
        bundle = BundleFolder(root, Path(scratch))
        for name in only or CHECKS:
            yield Outcome(name, _reason(CHECKS[name], bundle))


def _reason(check: Callable[[BundleFolder], None], bundle: BundleFolder) -> str | None:
    """Why a check failed; None if it did not. Configs may raise anything."""
    try:
        with _quiet():
            check(bundle)
    except CheckError as failed:
        return str(failed)
    except Exception as error:
        return _innermost(error)
    return None


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what MONAI and the runs have to say meanwhile; why a check failed is in its exception."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _innermost(error: BaseException) -> str:
    """One line of what lies at the bottom of MONAI's wrappings."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return shorten(f"{type(error).__name__}: {error}", LONGEST, placeholder=" ...")
