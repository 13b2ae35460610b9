"""All checks of a bundle in the order in which they run, and those of its network and exports."""

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

import torch
from monai.bundle import ckpt_export, verify_net_in_out

from scsam_monai.bundle_tools.verify import files, workflows
from scsam_monai.bundle_tools.verify.folder import SIDE, BundleFolder, CheckError
from scsam_monai.errors import InputError, check_choice
from scsam_monai.export import export_torchscript
from scsam_monai.export.recording import check_agreement
from scsam_monai.inference.model import open_model

LONGEST = 300
"""Letters of a reason; torch names every key of a network that misses some."""


def check_in_and_out(bundle: BundleFolder) -> None:
    """MONAI's own ``verify_net_in_out``, at two sizes of image."""
    for times in (4, 9):
        verify_net_in_out(
            net_id="network_def",
            meta_file=bundle.config("metadata"),
            config_file=bundle.config("inference"),
            device="cpu",
            n=times,
            bundle_root=str(bundle.root),
        )


def check_trace(bundle: BundleFolder) -> None:
    """MONAI's ``ckpt_export`` traces the network, and the trace gives the same logits."""
    path = bundle.scratch / "model.ts"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ckpt_export(
            net_id="network_def",
            filepath=str(path),
            ckpt_file=str(bundle.model),
            meta_file=bundle.config("metadata"),
            config_file=bundle.config("inference"),
            use_trace=True,
            input_shape=[1, 1, SIDE, SIDE],
            bundle_root=str(bundle.root),
            device="cpu",
        )
    network = open_model(bundle.model, "cpu").network.in_single_precision()
    traced = torch.jit.load(str(path))
    images = torch.rand(3, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    check_agreement(path, traced, network, images)


def check_exports(bundle: BundleFolder) -> None:
    """``scsam export`` writes TorchScript whose logits are the network's."""
    export_torchscript(open_model(bundle.model, "cpu"), bundle.scratch / "exported.ts", window=128)


CHECKS: dict[str, Callable[[BundleFolder], None]] = {
    "files": files.check_files,
    "large files": files.check_large_files,
    "weights": files.check_weights,
    "metadata": files.check_schema,
    "version": files.check_version,
    "packages": files.check_packages,
    "tensors": files.check_tensors,
    "data licence": files.check_data_licence,
    "model card": files.check_model_card,
    "train properties": workflows.check_train,
    "evaluate properties": workflows.check_evaluate,
    "multi-GPU properties": workflows.check_multi_gpu,
    "inference properties": workflows.check_inference,
    "network": check_in_and_out,
    "ckpt_export": check_trace,
    "exports": check_exports,
    "train": workflows.run_train,
    "evaluate": workflows.run_evaluate,
    "inference": workflows.run_inference,
    "multi-GPU train": workflows.run_multi_gpu,
}
"""From the cheapest to those that train."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

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
