"""Check the configs as MONAI runs them: their properties, and a short run on generated sections."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from monai.bundle import ConfigWorkflow
from monai.utils import set_determinism

from scsam_monai.bundle_tools.verify.folder import BundleFolder, CheckError

SMALL = {
    "crop_size": 64,
    "pool_size": 8,
    "crops_per_epoch": 4,
    "batch_size": 2,
    "epochs": 1,
    "val_interval": 1,
}
PATIENCE = 600.0
"""Seconds for a training of two processes."""


def check_train(bundle: BundleFolder) -> None:
    """``train.json`` has every property that MONAI asks of a training."""
    _check(bundle, ["train"], "train")


def check_evaluate(bundle: BundleFolder) -> None:
    """``train.json`` with ``evaluate.json`` has every property that MONAI asks of a training."""
    _check(bundle, ["train", "evaluate"], "train")


def check_multi_gpu(bundle: BundleFolder) -> None:
    """``train.json`` with ``multi_gpu_train.json`` has every property that MONAI asks of a training."""
    with _alone_under_torchrun():
        _check(bundle, ["train", "multi_gpu_train"], "train")


def check_inference(bundle: BundleFolder) -> None:
    """``inference.json`` has every property that MONAI asks of an inference."""
    _check(bundle, ["inference"], "inference")


def run_train(bundle: BundleFolder) -> None:
    """A training of one epoch leaves weights, scores and the files of a run."""
    run = bundle.scratch / "run train"
    _run(bundle, ["train"], "train", run_dir=str(run))
    _expect(run, "model.pt", "model.json", "last.pt", "run.json", "metrics.json", "test/metrics.json")


def run_evaluate(bundle: BundleFolder) -> None:
    """``evaluate.json`` scores the shipped weights."""
    run = bundle.scratch / "run evaluate"
    _run(bundle, ["train", "evaluate"], "train", run_dir=str(run))
    _expect(run, "test/metrics.json", "test/metrics.csv")


def run_inference(bundle: BundleFolder) -> None:
    """``inference.json`` segments an image with the shipped weights."""
    output = bundle.scratch / "labels"
    _run(bundle, ["inference"], "inference", output_dir=str(output))
    _expect(output, "test_labels.tif")


def run_multi_gpu(bundle: BundleFolder) -> None:
    """``multi_gpu_train.json`` trains in two processes, on CPUs where there are no two GPUs."""
    run = bundle.scratch / "run multi"
    files = [bundle.config("train"), bundle.config("multi_gpu_train")]
    flags = {**_overrides(bundle, "train"), "run_dir": str(run)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    command += [word for key, value in flags.items() for word in (f"--{key}", str(value))]
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "CUDA_VISIBLE_DEVICES": _two_gpus()}
    done = _finish(command, bundle.scratch, environment)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "rror" in line]
        raise CheckError(errors[0].strip() if errors else f"ended with code {done.returncode}")
    _expect(run, "model.pt", "metrics.json", "test/metrics.json")


def _finish(
    command: list[str], folder: Path, environment: Mapping[str, str], patience: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run a command in a session of its own, of which nothing outlives it."""
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            raise CheckError(f"not done after {patience:g} s") from None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def _check(bundle: BundleFolder, names: list[str], kind: str) -> None:
    with _workflow(bundle, names, kind) as workflow:
        missing = workflow.check_properties()
    if missing:
        raise CheckError(f"{' with '.join(names)} lacks {', '.join(missing)}")


def _run(bundle: BundleFolder, names: list[str], kind: str, **overrides: str) -> None:
    with _workflow(bundle, names, kind, **overrides) as workflow:
        workflow.run()


@contextmanager
def _workflow(
    bundle: BundleFolder, names: list[str], kind: str, **overrides: str
) -> Iterator[ConfigWorkflow]:
    """An initialised workflow, finalised afterwards."""
    own: Mapping[str, Any] = {**_overrides(bundle, kind), **overrides}
    workflow = ConfigWorkflow(
        config_file=[bundle.config(name) for name in names],
        meta_file=bundle.config("metadata"),
        logging_file=False,
        workflow_type=kind,
        **own,
    )
    try:
        workflow.initialize()
        yield workflow
    except BaseException:
        with suppress(Exception):  # what went wrong first is what has to be told
            workflow.finalize()
        raise
    else:
        workflow.finalize()
    finally:
        set_determinism(None)


def _overrides(bundle: BundleFolder, kind: str) -> dict[str, Any]:
    """What makes a run one of seconds, and keeps it out of the bundle's folder."""
    common = {"bundle_root": str(bundle.root)}
    if kind == "inference":
        output = str(bundle.scratch / "unused")
        return {**common, "dataset_dir": str(bundle.dataset / "test.tif"), "output_dir": output}
    cache, run = bundle.scratch / "embeddings", bundle.scratch / "unused"
    folders = {"dataset_dir": str(bundle.dataset), "run_dir": str(run), "cache_dir": str(cache)}
    return {**common, **folders, **SMALL}


def _expect(folder: Path, *names: str) -> None:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise CheckError(f"the run left no {', '.join(missing)}")


@contextmanager
def _alone_under_torchrun() -> Iterator[None]:
    """What torchrun would tell a single process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    before = {name: os.environ.get(name) for name in told}
    os.environ.update(told)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _two_gpus() -> str:
    """The GPUs that a run of two processes may see: two, or else none."""
    import torch

    return os.environ.get("CUDA_VISIBLE_DEVICES", "0,1") if torch.cuda.device_count() > 1 else ""
